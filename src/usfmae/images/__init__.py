"""Pixels: from files to frames to model input, and simulated B-mode. NumPy only, no torch."""
