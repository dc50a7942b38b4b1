"""An example plugin for morl, to be read, copied and changed."""
