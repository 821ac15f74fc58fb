import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from usfmae.base.seeds import rng_for
from usfmae.engine.augment import apply_views, apply_views_to_label_maps, augment_batch, resized, whole_batch
from usfmae.engine.views import AugmentConfig, draw_views

STILL = AugmentConfig(scale=(1.0, 1.0), aspect=(1.0, 1.0), flip_across=0.0)


def images(count: int = 3, side: int = 32) -> np.ndarray:
    return rng_for(0, "test images").integers(0, 256, (count, side, side), dtype=np.uint8)


def views(config: AugmentConfig, *, image_px: int = 32, seed: int = 0, count: int = 3) -> np.ndarray:
    return augment_batch(images(count), image_px=image_px, config=config, rng=rng_for(seed, "augment"))


def test_the_whole_image_unflipped_is_the_image():
    assert np.array_equal(views(STILL), images())


def test_flips_mirror_left_and_right_or_up_and_down():
    across = STILL.model_copy(update={"flip_across": 1.0})
    down = STILL.model_copy(update={"flip_down": 1.0})
    assert np.array_equal(views(across), images()[:, :, ::-1])
    assert np.array_equal(views(down), images()[:, ::-1])


def test_a_quarter_turn_turns():
    turned = views(STILL.model_copy(update={"rotate_deg": (90.0, 90.0), "interpolation": "nearest"}))
    assert np.array_equal(turned, np.rot90(images(), axes=(1, 2)))


def test_the_defaults_never_turn_depth_upside_down():
    ramp = np.repeat(np.arange(0, 256, 8, dtype=np.uint8)[:, None], 32, axis=1)
    for seed in range(20):
        view = augment_batch(ramp[None], image_px=32, config=AugmentConfig(), rng=rng_for(seed, "x"))[0]
        assert view[-1].mean() > view[0].mean()


def test_views_depend_on_the_seed_alone():
    assert np.array_equal(views(AugmentConfig(), seed=1), views(AugmentConfig(), seed=1))
    assert not np.array_equal(views(AugmentConfig(), seed=1), views(AugmentConfig(), seed=2))


def test_crops_have_the_area_and_shape_asked_for():
    # A white image in which column x has value x and row y value y would need two channels; two ramps do.
    side = 200
    ramp = np.tile(np.arange(side, dtype=np.uint8), (side, 1))
    config = AugmentConfig(scale=(0.25, 0.25), aspect=(1.0, 1.0), flip_across=0.0)
    for image, axis in ((ramp, 1), (ramp.T.copy(), 0)):
        view = augment_batch(image[None], image_px=100, config=config, rng=rng_for(0, "crop"))[0]
        span = np.ptp(np.take(view, [0, -1], axis=axis).astype(int), axis=axis)
        assert abs(span - 99).max() <= 1  # a crop of a quarter of the area spans half of each side


@given(low=st.floats(0.05, 1.0), extra=st.floats(0, 1.5), seed=st.integers(0, 99))
def test_any_scale_gives_views_of_the_size_asked_for(low, extra, seed):
    config = AugmentConfig(scale=(low, low + extra), aspect=(0.5, 2.0))
    assert views(config, image_px=17, seed=seed).shape == (3, 17, 17)


def test_shrinking_averages():
    # Rows of 0 and 200 in turn average to 100 at half the size; nearest neighbour would keep one of them.
    stripes = np.tile(np.array([[0], [200]], dtype=np.uint8), (16, 32))
    assert np.unique(resized(stripes, 16, "area")).tolist() == [100]
    assert np.unique(whole_batch(stripes[None], image_px=16)).tolist() == [100]


def test_evaluation_sees_the_whole_image_untouched_at_its_own_size():
    assert whole_batch(images(), image_px=32) is not None
    assert np.array_equal(whole_batch(images(), image_px=32), images())


def test_no_images_are_none_of_the_new_size():
    assert whole_batch(images(0, 32), image_px=(16, 24)).shape == (0, 16, 24)


@pytest.mark.parametrize("scale", [(0.0, 1.0), (0.9, 0.5)])
def test_nonsense_ranges_are_refused(scale):
    with pytest.raises(ValidationError, match="scale must be two positive numbers in ascending order"):
        AugmentConfig(scale=scale)


def test_a_rank_that_makes_only_its_rows_makes_the_same_views():
    config = AugmentConfig(gain=(0.5, 2.0), time_gain=(0.5, 2.0), speckle=(0.0, 0.2), shadow=0.7)
    pool = images(8)
    drawn = draw_views(8, 32, config, rng_for(0, "augment"), size_px=(24, 40))
    whole = augment_batch(pool, image_px=(24, 40), config=config, rng=rng_for(0, "augment"))
    assert whole.shape == (8, 24, 40)
    for rows in ([0, 1, 2], [5, 3], range(7, 8)):
        assert np.array_equal(apply_views(pool[list(rows)], drawn, rows), whole[list(rows)])
    with pytest.raises(ValueError, match="shorter"):
        apply_views(pool[:2], drawn, [0])


@pytest.mark.parametrize(
    "look",
    [
        {"gain": (0.5, 2.0)}, {"contrast": (0.5, 2.0)}, {"gamma": (0.5, 2.0)}, {"time_gain": (0.5, 2.0)},
        {"speckle": (0.2, 0.25)}, {"shadow": 1.0},
    ],
)  # fmt: skip
def test_black_stays_black_whatever_changes_the_look(look):
    config = AugmentConfig(flip_down=0.5, **look)
    black = np.zeros((4, 32, 32), dtype=np.uint8)
    assert not augment_batch(black, image_px=24, config=config, rng=rng_for(0, "black")).any()


def test_gain_multiplies_and_saturates():
    # Twice 60 is 120, and twice 200 is more than white.
    plain = np.full((2, 32, 32), 60, dtype=np.uint8)
    plain[1] = 200
    double = STILL.model_copy(update={"gain": (2.0, 2.0)})
    made = augment_batch(plain, image_px=32, config=double, rng=rng_for(0, "gain"))
    assert np.unique(made[0]).tolist() == [120]
    assert np.unique(made[1]).tolist() == [255]


def test_looks_of_no_strength_change_nothing():
    weak = STILL.model_copy(
        update={
            "speckle": (0.0, 1e-6),
            "shadow": 1.0,
            "shadow_strength": (0.0, 0.0),
            "time_gain": (1.0, 1.00001),
        }
    )
    assert np.array_equal(views(weak), images())


def test_time_gain_changes_rows_and_speckle_changes_pixels():
    flat = np.full((1, 32, 32), 128, dtype=np.uint8)
    rows = STILL.model_copy(update={"time_gain": (0.5, 2.0)})
    made = augment_batch(flat, image_px=32, config=rows, rng=rng_for(0, "rows"))[0]
    assert (made == made[:, :1]).all()
    assert len(np.unique(made[:, 0])) > 8
    speckled = augment_batch(
        flat, image_px=32, config=STILL.model_copy(update={"speckle": (0.1, 0.1)}), rng=rng_for(0, "rows")
    )[0]
    assert speckled.std() == pytest.approx(12.8, abs=2)
    assert speckled.mean() == pytest.approx(128, abs=3)


def test_a_shadow_is_darker_below_and_leaves_the_top():
    flat = np.full((6, 64, 64), 200, dtype=np.uint8)
    config = STILL.model_copy(update={"shadow": 1.0, "shadow_strength": (0.8, 0.8)})
    made = augment_batch(flat, image_px=64, config=config, rng=rng_for(0, "shadow"))
    assert (made[:, :6] == 200).all()
    assert (made[:, -1].min(axis=1) < 60).all()
    lost = (made < 200).any(axis=1).sum(axis=1)
    assert (lost < 64).all()  # a band, not the whole image


def test_a_shadow_falls_downwards_before_the_image_is_turned_upside_down():
    flat = np.full((4, 64, 64), 200, dtype=np.uint8)
    config = STILL.model_copy(update={"shadow": 1.0, "flip_down": 1.0})
    made = augment_batch(flat, image_px=64, config=config, rng=rng_for(0, "shadow"))
    assert (made[:, -6:] == 200).all()


def test_a_rectangle_is_the_image_stretched():
    # Rows of 0 to 31: half as many rows average by twos, 0.5, 2.5, ... rounded to even.
    ramp = np.repeat(np.arange(0, 64, 2, dtype=np.uint8)[:, None], 32, axis=1)
    wide = whole_batch(ramp[None], image_px=(16, 32))
    assert wide.shape == (1, 16, 32)
    assert wide[0, :, 0].tolist() == [2 * 2 * k + 1 for k in range(16)]
    still = augment_batch(ramp[None], image_px=(16, 32), config=STILL, rng=rng_for(0, "x"))
    assert np.array_equal(still, wide)


@given(height=st.integers(8, 40), width=st.integers(8, 40), seed=st.integers(0, 99))
def test_views_of_any_shape_are_views_of_the_square_stretched(height, width, seed):
    config = AugmentConfig()
    shaped = augment_batch(images(), image_px=(height, width), config=config, rng=rng_for(seed, "x"))
    assert shaped.shape == (3, height, width)
    same = augment_batch(images(), image_px=(32, 32), config=config, rng=rng_for(seed, "x"))
    assert np.array_equal(same, augment_batch(images(), image_px=32, config=config, rng=rng_for(seed, "x")))


def test_label_maps_go_where_their_images_go():
    # An image of two grey values is its own label map: after any view the two still agree, but for edges.
    blobs = np.zeros((6, 64, 64), dtype=np.uint8)
    for number, blob in enumerate(blobs):
        blob[10 + 3 * number : 40, 12:30] = 200
        blob[50:60, 30 + number : 50] = 200
    config = AugmentConfig(scale=(0.3, 0.8), flip_down=0.5, rotate_deg=(-20, 20), gain=(1.0, 1.0))
    for seed in range(5):
        drawn = draw_views(6, 64, config, rng_for(seed, "augment"), size_px=(48, 48))
        pictures = apply_views(blobs, drawn)
        maps = apply_views_to_label_maps((blobs > 0).astype(np.uint8), drawn)
        assert set(np.unique(maps)) == {0, 1}
        assert ((pictures > 100) != (maps == 1)).mean() < 0.01


def test_the_look_leaves_label_maps_alone():
    maps = np.full((3, 32, 32), 3, dtype=np.uint8)
    config = AugmentConfig(scale=(1.0, 1.0), gain=(0.5, 0.6), speckle=(0.2, 0.2), shadow=1.0)
    drawn = draw_views(3, 32, config, rng_for(0, "augment"), size_px=(32, 32))
    assert (apply_views_to_label_maps(maps, drawn) == 3).all()


def test_an_enlarged_label_map_is_not_shifted():
    # 2 x 2 to 6 x 6: each label covers three pixels either way.
    maps = np.array([[[1, 2], [3, 4]]], dtype=np.uint8)
    drawn = draw_views(1, 2, STILL, rng_for(0, "augment"), size_px=(6, 6))
    assert np.array_equal(apply_views_to_label_maps(maps, drawn)[0], np.kron(maps[0], np.ones((3, 3))))
