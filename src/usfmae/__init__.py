"""Self-supervised ultrasound foundation models: from piles of files to tested answers."""

__version__ = "0.1.0"
