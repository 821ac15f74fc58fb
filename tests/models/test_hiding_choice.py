import pytest
import torch
from pydantic import ValidationError

from usfmae.models.hiding_choice import choose_hiding, draw_turns
from usfmae.models.mae import DecoderConfig, MaeConfig
from usfmae.models.masking import Hiding, HidingConfig, hide_patches
from usfmae.models.vit import ViTConfig


def config(**changes) -> MaeConfig:
    return MaeConfig(encoder=ViTConfig(image_px=(32, 48), patch_px=8), **changes)


def views(empty_columns: int = 3) -> torch.Tensor:
    """Four views of 4 x 6 patches, bright but for their last columns of patches."""
    pixels = torch.full((4, 32, 48), 90, dtype=torch.uint8)
    pixels[:, :, 48 - 8 * empty_columns :] = 0
    return pixels


def chosen(settings: MaeConfig, seed: int = 0, pixels: torch.Tensor | None = None, **how) -> Hiding:
    pixels = views() if pixels is None else pixels
    turns = draw_turns(settings, len(pixels), (4, 6), rng=torch.Generator().manual_seed(seed), **how)
    return choose_hiding(settings, turns, grid=(4, 6), views=pixels)


def test_the_defaults_are_those_of_the_paper_to_the_bit():
    plain = hide_patches(4, 24, hide_ratio=0.75, rng=torch.Generator().manual_seed(7))
    default = chosen(config(), seed=7)
    assert torch.equal(default.visible, plain.visible)
    assert torch.equal(default.hidden, plain.hidden)
    assert default.scored is None


@pytest.mark.parametrize("kind", ["random", "block", "sector"])
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_every_kind_gives_the_same_counts_and_depends_on_the_seed_alone(kind, share):
    settings = config(hiding=HidingConfig(kind=kind), decoder=DecoderConfig(predict_ratio=share))
    one, again, other = chosen(settings, 1), chosen(settings, 1), chosen(settings, 2)
    assert one.visible.shape == (4, 6)
    assert one.hidden.shape == (4, round(18 * share))
    assert torch.equal(one.hidden, again.hidden)
    assert not torch.equal(one.hidden, other.hidden)
    for visible, hidden in zip(one.visible.tolist(), one.hidden.tolist(), strict=True):
        assert len({*visible, *hidden}) == 6 + len(hidden)
    assert chosen(settings, predict_all=True).hidden.shape == (4, 18)


@pytest.mark.parametrize("kind", ["random", "block", "sector"])
def test_some_rows_of_a_batch_are_chosen_as_in_the_whole(kind):
    settings = config(hiding=HidingConfig(kind=kind), decoder=DecoderConfig(predict_ratio=0.5))
    pixels = torch.cat([views(2)[:2], views(4)[:2]])
    turns = draw_turns(settings, 4, (4, 6), rng=torch.Generator().manual_seed(0))
    whole, part = (
        choose_hiding(settings, turns.of(rows), grid=(4, 6), views=pixels[rows])
        for rows in (slice(4), slice(1, 3))
    )
    assert torch.equal(part.visible, whole.visible[1:3])
    assert torch.equal(part.hidden, whole.hidden[1:3])


def test_a_loss_in_the_sector_changes_what_counts_and_not_what_is_hidden():
    plain, weighted = chosen(config()), chosen(config(loss_in="sector"))
    assert torch.equal(plain.hidden, weighted.hidden)
    assert torch.equal(weighted.scored, (weighted.hidden % 6 < 3).float())


def test_hiding_by_sector_follows_the_view_when_it_is_mirrored():
    # 12 of 24 patches have echo: 9 of them are hidden, on whichever side they are.
    settings = config(hiding=HidingConfig(kind="sector"))
    for pixels, first in ((views(), 0), (views().flip(2), 3)):
        hiding = chosen(settings, pixels=pixels)
        in_echo = (hiding.hidden % 6 >= first) & (hiding.hidden % 6 < first + 3)
        assert in_echo.sum(dim=1).tolist() == [9] * 4
        assert torch.equal(hiding.scored.bool(), in_echo)


def test_half_the_predictions_of_a_half_black_view_are_all_scored():
    settings = config(hiding=HidingConfig(kind="sector"), decoder=DecoderConfig(predict_ratio=0.5))
    assert chosen(settings).scored.sum(dim=1).tolist() == [9] * 4


@pytest.mark.parametrize(
    ("changes", "by_view"),
    [
        ({}, False),
        ({"hiding": HidingConfig(kind="block")}, False),
        ({"hiding": HidingConfig(kind="sector")}, True),
        ({"loss_in": "sector"}, True),
    ],
)
def test_views_are_needed_for_the_sector_alone(changes, by_view):
    settings = config(**changes)
    turns = draw_turns(settings, 4, (4, 6), rng=torch.Generator().manual_seed(0))
    assert settings.hides_by_view == by_view
    if by_view:
        with pytest.raises(ValueError, match="hiding or scoring by sector needs the views"):
            choose_hiding(settings, turns, grid=(4, 6))
    else:
        blind = choose_hiding(settings, turns, grid=(4, 6))
        assert torch.equal(blind.hidden, chosen(settings).hidden)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hide_ratio": 0.99}, "hide_ratio=0.99 hides 24 of 24 patches"),
        ({"hiding": HidingConfig(kind="block", block=5)}, "hiding.block=5 does not fit into 4 x 6 patches"),
        (
            {"decoder": DecoderConfig(predict_ratio=0.02)},
            "decoder.predict_ratio=0.02 predicts none of 18 hidden patches",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, said):
    with pytest.raises(ValidationError, match=said):
        config(**changes)
