import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from usfmae.base.seeds import rng_for
from usfmae.engine.look import NUM_TILES
from usfmae.engine.views import COLUMNS, AugmentConfig, Views, draw_views

EVERYTHING = AugmentConfig(
    gain=(0.8, 1.25), contrast=(0.5, 2.0), gamma=(0.8, 1.25), time_gain=(0.7, 1.4), speckle=(0.0, 0.2),
    shadow=0.5,
)  # fmt: skip


def drawn(config: AugmentConfig, *, batch: int = 400, side: int = 64, size=(48, 48), seed: int = 0) -> Views:
    return draw_views(batch, side, config, rng_for(seed, "views"), size_px=size)


def test_switching_a_setting_on_leaves_the_numbers_of_the_others():
    plain, full = drawn(AugmentConfig()), drawn(EVERYTHING)
    for name in ("top", "left", "height", "width", "flip_across", "flip_down", "angle_deg", "tile"):
        assert np.array_equal(getattr(plain, name), getattr(full, name)), name
    assert np.array_equal(plain.shadow[:, 1:], full.shadow[:, 1:])


def test_the_first_numbers_are_drawn_as_in_earlier_versions():
    # Area, aspect, place down, place across, flip across, flip down, angle: ten tries each of the first two.
    rng = rng_for(0, "views")
    rng.random((20, 400))
    down, across, flip = rng.random(400), rng.random(400), rng.random(400) < 0.5
    views = drawn(AugmentConfig())
    assert np.array_equal(views.top, np.rint(down * (64 - views.height)))
    assert np.array_equal(views.left, np.rint(across * (64 - views.width)))
    assert np.array_equal(views.flip_across, flip)


def test_what_is_off_is_drawn_as_nothing():
    views = drawn(AugmentConfig())
    assert (views.gain == 1).all()
    assert (views.contrast == 1).all()
    assert (views.gamma == 1).all()
    assert not views.log_time_gain.any()
    assert not views.speckle.any()
    assert not views.shadow[:, 0].any()


def test_halving_is_as_likely_as_doubling():
    contrast = drawn(EVERYTHING).contrast
    assert contrast.min() >= 0.5
    assert contrast.max() <= 2.0
    assert (contrast < 1).mean() == pytest.approx(0.5, abs=0.08)


def test_shadows_fall_as_often_as_asked_and_tiles_are_all_used():
    views = drawn(EVERYTHING)
    assert (views.shadow[:, 0] > 0).mean() == pytest.approx(0.5, abs=0.08)
    assert set(views.tile[:, 0].tolist()) == set(range(NUM_TILES))
    assert views.tile[:, 1:].min() >= 0
    assert 48 <= views.tile[:, 1:].max() < 64  # tiles of 64 for views of 48


@given(
    low=st.floats(0.05, 1.0), extra=st.floats(0, 1.5), size=st.tuples(st.integers(1, 90), st.integers(1, 90))
)
def test_crops_lie_within_the_image(low, extra, size):
    views = drawn(AugmentConfig(scale=(low, low + extra), aspect=(0.3, 3.0)), batch=20, size=size)
    for start, length in ((views.top, views.height), (views.left, views.width)):
        assert start.min() >= 0
        assert length.min() >= 1
        assert (start + length).max() <= 64


def test_wide_views_stretch_the_crops_of_square_ones():
    wide, square = (drawn(AugmentConfig(), size=size) for size in ((20, 40), (30, 30)))
    assert np.array_equal(wide.height, square.height)
    assert np.array_equal(wide.width, square.width)
    never_fits = drawn(AugmentConfig(scale=(2.0, 2.0)), size=(20, 40))
    assert {*never_fits.height.tolist(), *never_fits.width.tolist()} == {64}


def test_the_table_of_numbers_holds_every_field_in_order():
    views = drawn(EVERYTHING, batch=3)
    table = views.numbers()
    assert table.shape == (3, sum(COLUMNS.values()))
    names = [name for name, width in COLUMNS.items() for _ in range(width)]
    assert names[:4] == ["top", "left", "height", "width"]
    assert np.array_equal(table[:, 1], views.left)
    tiles = [column for column, name in enumerate(names) if name == "tile"]
    assert np.array_equal(table[:, tiles], views.tile)
    assert np.array_equal(table[:, -5:], views.shadow.astype(np.float32))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("gain", (0.0, 1.0), "gain must be two positive numbers in ascending order"),
        ("time_gain", (1.5, 0.5), "time_gain must be two positive numbers in ascending order"),
        ("speckle", (0.0, 0.3), "speckle must be two numbers from 0 to 0.25 in ascending order"),
        (
            "shadow_strength",
            (0.5, 1.1),
            "shadow_strength must be two numbers from 0 to 1.0",
        ),
        ("speckle_px", (-1.0, 1.0), "speckle_px must be two numbers from 0 to 16"),
        ("shadow", 1.5, "less than or equal to 1"),
        ("rotate_deg", (90, -90), "rotate_deg must be two numbers from -360 to 360 in ascending order"),
        ("rotate_deg", (-1e308, 1e308), "rotate_deg must be two numbers from -360"),
        ("contrast", (1e300, 1e300), "contrast must be at most 100"),
    ],
)
def test_nonsense_settings_are_refused(name, value, message):
    with pytest.raises(ValidationError, match=message):
        AugmentConfig(**{name: value})


def test_flips_fall_as_often_as_asked():
    views = drawn(AugmentConfig(flip_across=0.3, flip_down=0.2), batch=2000)
    assert views.flip_across.mean() == pytest.approx(0.3, abs=0.05)
    assert views.flip_down.mean() == pytest.approx(0.2, abs=0.05)
