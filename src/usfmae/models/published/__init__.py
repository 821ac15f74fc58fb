"""Transformers that others have published, under one set of names (timm's), written small."""
