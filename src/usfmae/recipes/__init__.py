"""Named runs, written in Python."""
