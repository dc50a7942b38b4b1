"""What a single run has done, read from its folder alone: a page, explanations, replays and checks.

Data goes one way: run folder -> `View` (`view`, with `samples`) -> `verdicts`, `explain`, `replay`, `page`.
"""
