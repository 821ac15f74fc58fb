"""Networks: patches, positions, ViT, MAE, and strict reading of weights. Torch, no image files."""
