"""The torch path against OpenCV, on CPU tensors."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from usfmae.base.seeds import rng_for
from usfmae.engine.augment import apply_views
from usfmae.engine.augment_device import apply_views_on_device
from usfmae.engine.views import AugmentConfig, draw_views

STILL = {"scale": (1.0, 1.0), "aspect": (1.0, 1.0), "flip_across": 0.0}
SIDE = 64


def images(count: int = 12) -> np.ndarray:
    noise = rng_for(0, "device images").integers(0, 256, (count, SIDE, SIDE), dtype=np.uint8)
    return np.stack([cv2.GaussianBlur(image, (0, 0), 1.2) for image in noise])


def both(config: AugmentConfig, *, size=(SIDE, SIDE), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    pictures = images()
    views = draw_views(len(pictures), SIDE, config, rng_for(seed, "both"), size_px=size)
    there = apply_views_on_device(
        torch.from_numpy(pictures), torch.from_numpy(views.numbers()), size_px=size, config=config
    )
    return apply_views(pictures, views).astype(int), there.numpy().astype(int)


@given(
    interpolation=st.sampled_from(["area", "linear"]),
    size=st.tuples(st.integers(8, 80), st.integers(8, 80)),
    seed=st.integers(0, 99),
)
def test_crops_of_any_size_agree_to_one_grey_level(interpolation, size, seed):
    config = AugmentConfig(interpolation=interpolation, flip_down=0.5)
    here, there = both(config, size=size, seed=seed)
    assert here.shape == there.shape == (12, *size)
    assert abs(here - there).max() <= 1


@given(size=st.tuples(st.integers(8, 80), st.integers(8, 80)), seed=st.integers(0, 99))
def test_nearest_takes_the_same_pixels(size, seed):
    here, there = both(AugmentConfig(interpolation="nearest"), size=size, seed=seed)
    assert np.array_equal(here, there)


@pytest.mark.parametrize(
    "look",
    [
        {"gain": (0.7, 1.4)}, {"contrast": (0.5, 2.0)}, {"gamma": (0.5, 2.0)}, {"time_gain": (0.7, 1.4)},
        {"speckle": (0.1, 0.25)}, {"shadow": 1.0, "shadow_strength": (0.9, 0.9)},
    ],
)  # fmt: skip
def test_every_look_is_the_same_on_uncut_images(look):
    here, there = both(AugmentConfig(**STILL, **look))
    assert abs(here - there).max() <= 1
    assert (here != images()).mean() > 0.05


def test_everything_together_agrees_to_two_grey_levels():
    config = AugmentConfig(
        gain=(0.8, 1.25), contrast=(0.8, 1.25), gamma=(0.8, 1.25), time_gain=(0.8, 1.25), speckle=(0.0, 0.1),
        shadow=0.5, flip_down=0.5,
    )  # fmt: skip
    here, there = both(config, size=(40, 56))
    assert abs(here - there).max() <= 2


def test_quarter_turns_agree_and_small_turns_nearly():
    quarter = AugmentConfig(**STILL, rotate_deg=(90.0, 90.0))
    assert np.array_equal(both(quarter)[1], np.rot90(images(), axes=(1, 2)))
    here, there = both(AugmentConfig(**STILL, rotate_deg=(-10.0, 10.0)))
    assert abs(here - there).mean() < 0.5
    nearest = AugmentConfig(**STILL, rotate_deg=(90.0, 90.0), interpolation="nearest")
    assert np.array_equal(both(nearest)[1], np.rot90(images(), axes=(1, 2)))


def test_the_whole_image_is_itself_and_flips_mirror_it():
    config = AugmentConfig(**STILL)
    assert np.array_equal(both(config)[1], images())
    across = config.model_copy(update={"flip_across": 1.0})
    down = config.model_copy(update={"flip_down": 1.0})
    assert np.array_equal(both(across)[1], images()[:, :, ::-1])
    assert np.array_equal(both(down)[1], images()[:, ::-1])


def test_autocast_does_not_coarsen_views():
    config = AugmentConfig()
    plain = both(config)[1]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert np.array_equal(both(config)[1], plain)


def test_views_do_not_depend_on_the_batch_around_them():
    config = AugmentConfig(shadow=1.0, speckle=(0.1, 0.1))
    pictures = torch.from_numpy(images())
    numbers = torch.from_numpy(draw_views(12, SIDE, config, rng_for(0, "both"), size_px=(32, 32)).numbers())
    whole = apply_views_on_device(pictures, numbers, size_px=(32, 32), config=config)
    parts = [
        apply_views_on_device(some, drawn, size_px=(32, 32), config=config)
        for some, drawn in zip(pictures.tensor_split(5), numbers.tensor_split(5), strict=True)
    ]
    assert torch.equal(torch.cat(parts), whole)
