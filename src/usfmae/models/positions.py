"""Fixed sine-cosine positions on a grid of any shape, and resizing of learned ones."""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (the field's own name)


def sincos_positions(grid: tuple[int, int], dim: int) -> Float[Tensor, "1 tokens dim"]:
    """Sine-cosine positions of MAE (He et al. 2022, appendix A.1), with a zero row for the class token.

    The first half of `dim` encodes the column, the second the row; each half is sines, then cosines,
    of frequencies `10000 ** (-i / (dim / 4))`.

    Args:
        grid: patches (down, across).
        dim: embedding width; a multiple of 4.

    Returns:
        One row for the class token, then one for each patch, left to right and top to bottom.

    Raises:
        ValueError: `dim` is not a multiple of 4.
    """
    if dim % 4:
        raise ValueError(f"dim={dim} is not a multiple of 4")
    rows, cols = grid
    frequencies = 10000.0 ** (-torch.arange(dim // 4, dtype=torch.float64) / (dim / 4))
    down, across = torch.meshgrid(
        torch.arange(rows, dtype=torch.float64), torch.arange(cols, dtype=torch.float64), indexing="ij"
    )
    halves = []
    for coordinate in (across, down):
        angles = coordinate.reshape(-1, 1) * frequencies
        halves += [angles.sin(), angles.cos()]
    patches = torch.cat(halves, dim=1)
    return torch.cat([torch.zeros(1, dim, dtype=torch.float64), patches]).float()[None]


@lru_cache(maxsize=16)
def sincos_positions_on(
    grid: tuple[int, int], dim: int, device: torch.device
) -> Float[Tensor, "1 tokens dim"]:
    """`sincos_positions` on a device, computed and carried there once."""
    with torch.inference_mode(False):  # what is remembered must do for training too
        return sincos_positions(grid, dim).to(device)


def decoder_positions(
    stored: Float[Tensor, "1 tokens dim"], *, own: tuple[int, int], grid: tuple[int, int]
) -> Float[Tensor, "all dim"]:
    """Fixed positions of a decoder: those it stores for its `own` grid, else computed for `grid`."""
    if grid == own:
        return stored[0]
    return sincos_positions_on(grid, stored.shape[2], stored.device)[0]


def resize_positions(
    positions: Float[Tensor, "1 tokens dim"],
    *,
    old: tuple[int, int],
    new: tuple[int, int],
    antialias: bool = True,
) -> Float[Tensor, "1 new_tokens dim"]:
    """Resample positions to another grid, bicubic, class token untouched (Dosovitskiy et al. 2021, sec. 3.2).

    Args:
        positions: class token first.
        old: grid (down, across) that the positions belong to.
        new: grid wanted; the same grid gives the positions back unchanged.
        antialias: average what lies between the places of a coarser grid.

    Raises:
        ValueError: `positions` has not one row per patch of `old` plus one.
    """
    if positions.shape[1] != old[0] * old[1] + 1:
        raise ValueError(f"{positions.shape[1]} positions do not fit {old[0]} x {old[1]} patches and a class")
    if old == new:
        return positions
    dim = positions.shape[2]
    first, rest = positions[:, :1].float(), positions[:, 1:].float()
    image = rest.reshape(1, *old, dim).permute(0, 3, 1, 2)
    image = F.interpolate(image, size=new, mode="bicubic", antialias=antialias, align_corners=False)
    resized = image.permute(0, 2, 3, 1).reshape(1, new[0] * new[1], dim)
    return torch.cat([first, resized], dim=1).to(positions.dtype)
