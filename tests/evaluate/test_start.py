from pathlib import Path

import pytest
import torch

from usfmae.base.errors import SettingError, WeightsError
from usfmae.evaluate.start import open_start, shown_to
from usfmae.models.vit import ViTConfig

NETWORK = ViTConfig(size="ti", image_px=32, patch_px=8)


def test_scratch_is_drawn_from_the_seed_in_the_shape_asked_for():
    first, again, other = (open_start("scratch", network=NETWORK, seed=seed) for seed in (0, 0, 1))
    assert (first.init, first.sha256, first.input_spec.image_px) == ("scratch", None, 32)
    same = [
        torch.equal(a, b) for a, b in zip(first.encoder.parameters(), again.encoder.parameters(), strict=True)
    ]
    assert all(same)
    assert not torch.equal(first.encoder.cls_token, other.encoder.cls_token)


def test_scratch_like_weights_has_their_shape_and_not_their_numbers(weights):
    pretrained = open_start(weights, network=NETWORK, drop_path=0.2)
    scratch = open_start("scratch", network=NETWORK, like=weights, drop_path=0.2)
    assert scratch.encoder.config == pretrained.encoder.config
    assert scratch.input_spec == pretrained.input_spec
    assert not torch.equal(scratch.encoder.cls_token, pretrained.encoder.cls_token)
    assert pretrained.init == "pretrained"
    assert pretrained.encoder.blocks[-1].drop_path == pytest.approx(0.2)


def test_another_input_size_resizes_the_positions(weights):
    start = open_start(weights, network=NETWORK, image_px=24)
    assert start.input_spec.image_px == 24
    assert start.encoder.pos_embed.shape[1] == 1 + 9


def test_a_size_that_the_patch_does_not_divide_is_refused(weights):
    for start in (weights, "scratch"):
        with pytest.raises(SettingError, match="not a multiple of patch_px=8"):
            open_start(start, network=NETWORK, image_px=20)


def test_missing_weights_are_named():
    with pytest.raises(WeightsError, match=r"nowhere\.safetensors: no such weights file"):
        open_start(Path("nowhere.safetensors"), network=NETWORK)


def test_pictures_are_made_square_as_the_weights_say(weights):
    assert shown_to("scratch") == ("pad", "none")
    assert shown_to(weights) == shown_to("scratch", like=weights) == ("pad", "none")
    start = open_start("scratch", network=NETWORK, fit="stretch")
    assert start.input_spec.fit == "stretch"
    assert open_start(weights, network=NETWORK, fit="stretch").input_spec.fit == "pad"


def test_a_rectangular_network_starts_from_scratch_on_rectangles():
    start = open_start("scratch", network=ViTConfig(size="ti", image_px=(16, 32), patch_px=8))
    assert start.input_spec.size_px == start.encoder.config.image_size_px == (16, 32)
