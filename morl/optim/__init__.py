"""Optimizers, and schedules of their learning rate."""
