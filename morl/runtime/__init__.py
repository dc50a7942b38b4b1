"""What training and evaluation both stand on: parts, checks, seeds, ranks, and the scoring of held-out prompts."""
