"""Rewards from other models: a judge behind an OpenAI-compatible endpoint, or a reward model on this machine."""
