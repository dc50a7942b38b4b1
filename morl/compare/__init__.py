"""Studies: one config run with several arms, settings and seeds, and a report of what differs.

Data goes one way: the command line (`arguments`) -> the grid of cells (`grid`), each with its checked config (`check`)
-> what of it is done already (`folder`) -> the processes that do the rest (`run`, with `slots`, `launch` and `cell`)
-> the report (`morl.analysis`).

In this code a cell of the grid is one run; a line is one configuration, whose cells differ by their seed alone.
"""
