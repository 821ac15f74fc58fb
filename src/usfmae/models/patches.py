"""Images to patches and back."""

from jaxtyping import Float
from torch import Tensor


def patchify(images: Float[Tensor, "b c h w"], patch_px: int) -> Float[Tensor, "b n d"]:
    """Cut images into a row of flattened patches.

    Patches run left to right, then top to bottom. Inside a patch the order is channel, down, across,
    the order of a convolution kernel, so a patch embedding is one matrix product.

    Args:
        images: any values; height and width are multiples of `patch_px`.
        patch_px: side of a patch in pixels.

    Returns:
        `n = (h / patch_px) * (w / patch_px)` patches of `d = c * patch_px ** 2` values.

    Raises:
        ValueError: the patch does not divide the image.
    """
    b, c, h, w = images.shape
    if h % patch_px or w % patch_px:
        raise ValueError(f"patch_px={patch_px} does not divide an image of {h} x {w} px")
    rows, cols = h // patch_px, w // patch_px
    blocks = images.reshape(b, c, rows, patch_px, cols, patch_px)
    return blocks.permute(0, 2, 4, 1, 3, 5).reshape(b, rows * cols, c * patch_px * patch_px)


def unpatchify(
    patches: Float[Tensor, "b n d"], *, grid: tuple[int, int], patch_px: int
) -> Float[Tensor, "b c h w"]:
    """Put patches back together; undoes `patchify`.

    Args:
        patches: as `patchify` returns them.
        grid: patches (down, across); their product is `n`.
        patch_px: side of a patch in pixels.

    Raises:
        ValueError: `n` is not rows times columns.
    """
    b, n, d = patches.shape
    rows, cols = grid
    if rows * cols != n:
        raise ValueError(f"a grid of {rows} x {cols} does not hold {n} patches")
    c = d // patch_px**2
    blocks = patches.reshape(b, rows, cols, c, patch_px, patch_px)
    return blocks.permute(0, 3, 1, 4, 2, 5).reshape(b, c, rows * patch_px, cols * patch_px)


def channels_last(patches: Float[Tensor, "b n d"], channels: int) -> Float[Tensor, "b n d"]:
    """Reorder each patch from (channel, down, across) to (down, across, channel).

    The published MAE decoders predict pixels in the second order.
    """
    if channels == 1:
        return patches
    b, n, d = patches.shape
    return patches.reshape(b, n, channels, d // channels).transpose(2, 3).reshape(b, n, d)


def channels_first(patches: Float[Tensor, "b n d"], channels: int) -> Float[Tensor, "b n d"]:
    """Undo `channels_last`."""
    if channels == 1:
        return patches
    b, n, d = patches.shape
    return patches.reshape(b, n, d // channels, channels).transpose(2, 3).reshape(b, n, d)
