"""The tasks of reasoning-gym: problems that are generated, and answers that are verified."""
