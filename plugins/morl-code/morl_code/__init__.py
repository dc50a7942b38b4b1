"""Rewards of the code task: generated Python, run against tests in a sandbox (GDPO, arXiv 2601.05242)."""
