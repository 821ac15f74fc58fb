"""Datasets from their publishers to this disk: planned from the card, fetched whole or not at all."""
