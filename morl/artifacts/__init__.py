"""What a run leaves behind: the layout of its folder, the names of its metrics.  Knows files only."""
