"""Weights and images that anybody can draw again: the input of the golden numbers of published encoders."""

import math

from mae_inputs import drawn, fingerprint
from torch import Tensor

__all__ = ["drawn", "filled", "fingerprint", "images"]


def filled(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    """A tensor for each name of a file, so large that every one of them shows in the output: norms and layer
    scales near 1, positions and tokens half a unit, matrices by their fan in."""
    state = {}
    for name, shape in shapes.items():
        if any(word in name for word in ("norm", "ln_", "lambda", "gamma", "ls1", "ls2")):
            centre, scale = (0.0 if name.endswith("bias") else 1.0), 0.2
        elif any(word in name for word in ("pos", "token", "class_embedding", "bias_table")):
            centre, scale = 0.0, 0.5
        else:
            centre, scale = 0.0, 1 / math.sqrt(math.prod(shape[1:])) if len(shape) > 1 else 0.2
        state[name] = centre + drawn(name, tuple(shape), scale)
    return state


def images(image_px: int) -> Tensor:
    """A batch of standardised noise."""
    return drawn(f"published {image_px}", (2, 3, image_px, image_px))
