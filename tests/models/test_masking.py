import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from usfmae.models.masking import hide_patches


def drawn(seed: int = 0, batch: int = 4, num_patches: int = 16, hide_ratio: float = 0.75):
    rng = torch.Generator().manual_seed(seed)
    return hide_patches(batch, num_patches, hide_ratio=hide_ratio, rng=rng)


@given(
    batch=st.integers(1, 5),
    num_patches=st.integers(4, 200),
    hide_ratio=st.floats(0.2, 0.8),
    seed=st.integers(0, 2**31),
)
def test_visible_and_hidden_are_all_patches_once(batch, num_patches, hide_ratio, seed):
    hiding = drawn(seed, batch, num_patches, hide_ratio)
    both = torch.cat([hiding.visible, hiding.hidden], dim=1).sort(dim=1).values
    assert torch.equal(both, torch.arange(num_patches).expand(batch, -1))
    assert torch.equal(hiding.visible, hiding.visible.sort(dim=1).values)
    assert hiding.hidden.shape[1] == round(hide_ratio * num_patches)


def test_29_of_100_patches_are_hidden_at_29_percent():
    # int(0.29 * 100) is 28, since 0.29 * 100 is 28.999999999999996.
    assert drawn(num_patches=100, hide_ratio=0.29).hidden.shape[1] == 29


def test_the_same_seed_hides_the_same_patches_and_another_does_not():
    assert torch.equal(drawn(3).hidden, drawn(3).hidden)
    assert not torch.equal(drawn(3).hidden, drawn(4).hidden)


def test_every_patch_is_hidden_equally_often():
    hiding = drawn(batch=4000, num_patches=16)
    share = torch.bincount(hiding.hidden.flatten(), minlength=16) / 4000
    assert share.min() > 0.72
    assert share.max() < 0.78


@pytest.mark.parametrize("hide_ratio", [0.01, 0.99])
def test_hiding_all_or_nothing_is_refused(hide_ratio):
    with pytest.raises(ValueError, match="of 16 patches"):
        drawn(hide_ratio=hide_ratio)
