"""Content hashes tell pixels apart; fingerprints say what a picture looks like."""

import io

import cv2
import numpy as np
from PIL import Image

from usfmae.images.fingerprint import content_hash, fingerprint
from usfmae.images.read import read_frame


def scene(seed: int) -> np.ndarray:
    """A smooth random picture with speckle, mid-grey so that brightness changes do not clip."""
    rng = np.random.default_rng(seed)
    smooth = cv2.resize(
        rng.uniform(40, 160, (9, 9)).astype(np.float32), (240, 200), interpolation=cv2.INTER_CUBIC
    )
    return np.clip(smooth + rng.normal(0, 8, (200, 240)), 0, 200).astype(np.uint8)


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


def test_a_fingerprint_is_the_mean_of_each_cell():
    # 44 x 66 pixels: cells of 2 x 3
    pixels = np.random.default_rng(0).integers(0, 256, (44, 66), dtype=np.uint8)
    means = pixels.reshape(22, 2, 22, 3).mean(axis=(1, 3))
    assert np.abs(fingerprint(pixels) - means).max() <= 0.51
    assert fingerprint(pixels).nbytes == 484


def test_size_colour_and_compression_leave_a_fingerprint_almost_as_it_is():
    picture = scene(0)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=60)
    before = fingerprint(picture).astype(int)
    assert np.abs(fingerprint(np.asarray(Image.open(buffer))) - before).max() <= 4
    assert (
        np.abs(fingerprint(cv2.resize(picture, (150, 125), interpolation=cv2.INTER_AREA)) - before).max() <= 4
    )
    assert np.array_equal(fingerprint(np.repeat(picture[..., None], 3, axis=-1)), before)


def test_a_border_of_five_per_cent_fills_the_outermost_cells_and_no_other():
    framed = cv2.copyMakeBorder(
        np.full((200, 240), 90, np.uint8), 10, 10, 12, 12, cv2.BORDER_CONSTANT, value=255
    )
    cells = fingerprint(framed)
    assert (cells[1:-1, 1:-1] == 90).all()
    assert (cells[0] == 255).all()
    assert (cells[:, -1] == 255).all()


def test_a_picture_smaller_than_its_fingerprint_has_one_too():
    assert (fingerprint(np.full((5, 9), 77, np.uint8)) == 77).all()
