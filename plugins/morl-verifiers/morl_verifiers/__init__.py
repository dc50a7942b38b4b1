"""Tasksets of verifiers: their prompts, their reward functions and their tools, without its processes."""
