"""Convolutional encoders, written small, with the names under which their weights are published."""
