"""Servers of OpenEnv as environments, over their WebSocket protocol."""
