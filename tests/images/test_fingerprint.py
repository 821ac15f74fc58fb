"""Content hashes tell pixels apart; perceptual hashes hold copies together."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from usfmae.images.fingerprint import content_hash, perceptual_hash
from usfmae.images.read import read_frame


def scene(seed: int) -> np.ndarray:
    """A smooth random picture with speckle, mid-grey so that brightness changes do not clip."""
    rng = np.random.default_rng(seed)
    smooth = cv2.resize(
        rng.uniform(40, 160, (9, 9)).astype(np.float32), (240, 200), interpolation=cv2.INTER_CUBIC
    )
    return np.clip(smooth + rng.normal(0, 8, (200, 240)), 0, 200).astype(np.uint8)


def differing_bits(one: np.ndarray, other: np.ndarray) -> int:
    return (perceptual_hash(one) ^ perceptual_hash(other)).bit_count()


def test_content_hash_sees_one_grey_level_of_one_pixel():
    one = np.zeros((16, 16), np.uint8)
    other = one.copy()
    other[3, 4] = 1
    assert content_hash(one) == content_hash(one.copy())
    assert content_hash(one) != content_hash(other)


def test_content_hash_does_not_see_the_container(tmp_path):
    pixels = scene(0)[:64, :64]
    hashes = set()
    for name in ("a.png", "b.bmp", "c.tif"):
        Image.fromarray(pixels).save(tmp_path / name)
        hashes.add(content_hash(read_frame(tmp_path / name).pixels))
    assert hashes == {content_hash(pixels)}


def test_content_hash_reads_rows_of_a_larger_array():
    block = np.random.default_rng(0).integers(0, 255, (16, 32)).astype(np.uint8)
    assert content_hash(block[:, ::2]) == content_hash(block[:, ::2].copy())


@pytest.mark.parametrize("seed", range(5))
def test_perceptual_hash_survives_jpeg_resizing_and_brightness(seed):
    picture = scene(seed)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=60)
    assert differing_bits(picture, np.asarray(Image.open(buffer))) <= 4
    assert differing_bits(picture, cv2.resize(picture, (150, 125), interpolation=cv2.INTER_AREA)) <= 4
    assert differing_bits(picture, (picture * 0.8 + 30).astype(np.uint8)) <= 4
    assert differing_bits(picture, np.repeat(picture[..., None], 3, axis=-1)) == 0


def test_unrelated_pictures_differ_in_about_half_of_the_bits():
    distances = [differing_bits(scene(a), scene(b)) for a in range(8) for b in range(a)]
    assert np.mean(distances) == pytest.approx(32, abs=4)
    assert min(distances) >= 16


def test_a_flat_picture_has_hash_zero():
    assert perceptual_hash(np.full((50, 40), 90, np.uint8)) == 0


def test_the_lowest_bit_is_the_lowest_frequency_across():
    # one half-wave across the picture, bright on the left: only frequency (0, 1) is there
    wave = 128 + 100 * np.cos(np.pi * (np.arange(64) + 0.5) / 64)
    assert perceptual_hash(np.tile(wave, (64, 1)).astype(np.uint8)) & 1
    assert perceptual_hash(np.tile(wave[::-1], (64, 1)).astype(np.uint8)) & 1 == 0
