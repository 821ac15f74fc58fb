"""Masked-autoencoder pretraining runs."""
