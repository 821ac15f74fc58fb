import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from usfmae.models.masking import (
    Hiding,
    empty_patches,
    hide_blocks,
    hide_in_sector,
    hide_patches,
    num_block_turns,
    predict_share,
    score_echo,
)


def turns(batch: int, count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(batch, count, generator=generator(seed))


def blocks(batch: int, grid, *, hide_ratio: float, block: int, seed: int = 0) -> Hiding:
    numbers = turns(batch, num_block_turns(grid, block), seed)
    return hide_blocks(numbers, grid, hide_ratio=hide_ratio, block=block)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def all_once(hiding: Hiding, num_patches: int) -> bool:
    both = torch.cat([hiding.visible, hiding.hidden], dim=1).sort(dim=1).values
    ascending = all(torch.equal(part, part.sort(dim=1).values) for part in (hiding.visible, hiding.hidden))
    return ascending and torch.equal(both, torch.arange(num_patches).expand(len(both), -1))


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


def test_one_square_of_the_grid_is_hidden_as_one_square():
    # 4 of 16 patches in squares of 2 x 2: where the first hangs over no edge, it is all that is hidden.
    hiding = blocks(400, (4, 4), hide_ratio=0.25, block=2)
    rows, columns = hiding.hidden // 4, hiding.hidden % 4
    spans = torch.stack([part.amax(dim=1) - part.amin(dim=1) for part in (rows, columns)])
    squares = (spans == 1).all(dim=0).float().mean()
    assert 0.30 < squares < 0.45  # 9 of 25 places are whole; single patches would do so in 9 of 1820 draws


@given(
    rows=st.integers(4, 9), cols=st.integers(4, 9), block=st.integers(1, 4), ratio=st.floats(0.2, 0.8),
    seed=st.integers(0, 2**31),
)  # fmt: skip
def test_blocks_hide_the_exact_number_in_whole_squares_but_for_the_last(rows, cols, block, ratio, seed):
    hiding = blocks(3, (rows, cols), hide_ratio=ratio, block=block, seed=seed)
    assert all_once(hiding, rows * cols)
    assert hiding.hidden.shape[1] == round(ratio * rows * cols)
    hidden = torch.zeros(3, rows * cols, dtype=torch.bool).scatter_(1, hiding.hidden, True)
    assert (hidden.sum(dim=1) - covered_by_squares(hidden.reshape(3, rows, cols), block)).max() < block**2


def covered_by_squares(hidden: torch.Tensor, block: int) -> torch.Tensor:
    """Hidden patches that lie in a square that is hidden as far as it lies in the grid."""
    wide = torch.nn.functional.pad(hidden.float()[:, None], [block - 1] * 4, value=1.0)
    whole = -torch.nn.functional.max_pool2d(-wide, block, stride=1)
    return torch.nn.functional.max_pool2d(whole, block, stride=1).sum(dim=(1, 2, 3))


def test_blocks_hide_the_border_as_often_as_the_middle():
    hiding = blocks(4000, (6, 6), hide_ratio=0.5, block=2)
    share = torch.bincount(hiding.hidden.flatten(), minlength=36) / 4000
    assert share.min() > 0.44
    assert share.max() < 0.56


def test_a_block_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="a block of 4 x 4 patches does not fit into 3 x 8"):
        blocks(1, (3, 8), hide_ratio=0.5, block=4)


def test_the_sector_by_hand():
    # 16 patches, the first 6 with echo, 75 % hidden: 12 of 16. Of 6 with echo round(4.5) = 4 are hidden, so 2
    # are visible; the other 2 visible and 8 hidden ones are black, and those 8 count nothing.
    empty = (torch.arange(16) >= 6)[None].expand(50, -1)
    hiding = score_echo(hide_in_sector(turns(50, 16), empty, hide_ratio=0.75), empty)
    assert all_once(hiding, 16)
    assert (hiding.visible < 6).sum(dim=1).unique().tolist() == [2]
    assert torch.equal(hiding.scored, (hiding.hidden < 6).float())
    assert hiding.scored.sum(dim=1).unique().tolist() == [4]


@given(
    num_patches=st.integers(4, 200), ratio=st.floats(0.2, 0.8), black=st.floats(0, 1),
    seed=st.integers(0, 2**31),
)  # fmt: skip
def test_the_ratio_holds_among_patches_with_echo_and_counts_stay(num_patches, ratio, black, seed):
    empty = torch.rand(5, num_patches, generator=generator(seed)) < black
    hiding = hide_in_sector(turns(5, num_patches, seed), empty, hide_ratio=ratio)
    assert all_once(hiding, num_patches)
    assert hiding.hidden.shape[1] == round(ratio * num_patches)
    hidden_echo = (~empty).gather(1, hiding.hidden).sum(dim=1).tolist()
    assert hidden_echo == [round(ratio * count) for count in (~empty).sum(dim=1).tolist()]
    again = hide_in_sector(turns(5, num_patches, seed), empty, hide_ratio=ratio)
    assert torch.equal(again.hidden, hiding.hidden)


def test_the_sector_hides_patches_with_echo_equally_often():
    empty = (torch.arange(16) % 4 == 0)[None].expand(4000, -1)
    hiding = hide_in_sector(turns(4000, 16), empty, hide_ratio=0.5)
    share = torch.bincount(hiding.hidden.flatten(), minlength=16) / 4000
    assert (share - 0.5).abs().max() < 0.03


def test_a_black_patch_is_empty_with_a_stray_tick_but_not_with_a_weak_echo():
    # Patches of 10 x 10: 2 bright pixels are 2 %; 3 are more; a level of 4 is black, of 5 is not.
    views = torch.zeros(1, 10, 40, dtype=torch.uint8)
    views[0, 0, 0:2] = 255
    views[0, 0, 10:13] = 255
    views[0, :, 20:30] = 4
    views[0, :, 30:40] = 5
    assert empty_patches(views, 10).tolist() == [[True, False, True, False]]


@given(seed=st.integers(0, 1000))
def test_emptiness_turns_with_the_view(seed):
    views = (torch.rand(2, 32, 48, generator=generator(seed)) < 0.02).to(torch.uint8) * 200
    empty = empty_patches(views, 8).reshape(2, 4, 6)
    assert torch.equal(empty_patches(views.flip(2), 8).reshape(2, 4, 6), empty.flip(2))


def test_a_share_of_the_hidden_is_kept_and_the_scored_ones_first():
    # Six hidden, three of them scored: of half, 3, all are scored ones; of two thirds, 4, one is not.
    hiding = Hiding(torch.tensor([[0]]), torch.arange(1, 7)[None], torch.tensor([[1.0, 0, 1, 0, 0, 1]]))
    half = predict_share(hiding, 0.5, turns(1, 6))
    assert half.hidden.tolist() == [[1, 3, 6]]
    assert half.scored.tolist() == [[1, 1, 1]]
    assert predict_share(hiding, 2 / 3, turns(1, 6)).scored.sum() == 3
    assert torch.equal(half.visible, hiding.visible)


def test_each_hidden_patch_is_predicted_equally_often():
    hiding = hide_patches(1, 16, hide_ratio=0.75, rng=generator())
    many = Hiding(hiding.visible.expand(4000, -1), hiding.hidden.expand(4000, -1))
    kept = predict_share(many, 0.5, turns(4000, 12))
    assert kept.hidden.shape == (4000, 6)
    share = torch.bincount(kept.hidden.flatten(), minlength=16)[hiding.hidden[0]] / 4000
    assert (share - 0.5).abs().max() < 0.03


def test_a_score_of_echo_leaves_the_choice_as_it_is():
    hiding = hide_patches(1, 4, hide_ratio=0.5, rng=generator())
    scored = score_echo(hiding, torch.tensor([[False, True, False, True]]))
    assert torch.equal(scored.hidden, hiding.hidden)
    assert torch.equal(scored.scored, (hiding.hidden % 2 == 0).float())
