import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from usfmae.models.patches import channels_first, channels_last, patchify, unpatchify
from usfmae.models.vit import PatchEmbed


def test_patches_run_across_then_down():
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert patchify(image, 2)[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


@given(
    b=st.integers(1, 3),
    c=st.integers(1, 4),
    rows=st.integers(1, 4),
    cols=st.integers(1, 4),
    patch=st.integers(1, 5),
)
def test_unpatchify_undoes_patchify(b, c, rows, cols, patch):
    images = torch.randn(b, c, rows * patch, cols * patch)
    patches = patchify(images, patch)
    assert patches.shape == (b, rows * cols, c * patch * patch)
    assert torch.equal(unpatchify(patches, grid=(rows, cols), patch_px=patch), images)


@given(channels=st.integers(1, 4), patch=st.integers(1, 4))
def test_channel_orders_undo_each_other(channels, patch):
    patches = torch.randn(2, 3, channels * patch * patch)
    assert torch.equal(channels_first(channels_last(patches, channels), channels), patches)


def test_channels_last_puts_the_colours_of_a_pixel_side_by_side():
    # One patch of two pixels and three colours: r1 r2 g1 g2 b1 b2 becomes r1 g1 b1 r2 g2 b2.
    patch = torch.tensor([[[1.0, 2, 3, 4, 5, 6]]])
    assert channels_last(patch, 3).tolist() == [[[1, 3, 5, 2, 4, 6]]]


def test_the_patch_embedding_equals_its_convolution():
    embed = PatchEmbed(channels=3, patch_px=4, dim=8)
    images = torch.randn(2, 3, 8, 12)
    expected = embed.proj(images).flatten(2).transpose(1, 2)
    torch.testing.assert_close(embed(patchify(images, 4)), expected)


def test_a_patch_that_does_not_divide_the_image_is_refused():
    with pytest.raises(ValueError, match="patch_px=3 does not divide an image of 8 x 8 px"):
        patchify(torch.zeros(1, 1, 8, 8), 3)
    with pytest.raises(ValueError, match="a grid of 2 x 2 does not hold 5 patches"):
        unpatchify(torch.zeros(1, 5, 9), grid=(2, 2), patch_px=3)
