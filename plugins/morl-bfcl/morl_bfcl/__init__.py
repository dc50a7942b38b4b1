"""The Berkeley Function-Calling Leaderboard: tasks as prompts, rules as rewards, tool worlds as an environment."""
