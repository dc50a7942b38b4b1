"""A trained model on held-out prompts: means, pass@k and lengths, with confidence intervals.

Data goes one way: command line -> `resolve` -> `run` (with `module`, on the devices of a trainer) -> scores of all
completions -> `figures` (with `estimates`) -> `report`.
"""
