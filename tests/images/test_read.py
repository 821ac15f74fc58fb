"""Stills and animations: every kind of file gives true pixels or a message that says what is wrong."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from usfmae.base.errors import ImageError
from usfmae.images import limits, read
from usfmae.images.read import is_image_path, read_frame, read_frames, spread

RAMP = np.arange(20 * 30, dtype=np.uint8).reshape(20, 30)
COLOUR = np.stack([RAMP, RAMP.T.reshape(20, 30), 255 - RAMP], axis=-1)


def save(path: Path, pixels, mode: str | None = None, **how) -> Path:
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **how)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "PNG", "pgm"])
def test_grey_stills_come_back_exactly(tmp_path, suffix):
    frame = read_frame(save(tmp_path / f"a.{suffix}", RAMP))
    assert np.array_equal(frame.pixels, RAMP)
    assert (frame.height, frame.width, frame.spacing_mm) == (20, 30, None)
    assert (frame.source.frame_index, frame.source.num_frames) == (0, 1)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm"])
def test_colour_comes_back_as_red_green_blue(tmp_path, suffix):
    assert np.array_equal(read_frame(save(tmp_path / f"a.{suffix}", COLOUR)).pixels, COLOUR)


def test_the_content_decides_not_the_name(tmp_path):
    (tmp_path / "a.jpg").write_bytes(save(tmp_path / "a.png", RAMP).read_bytes())
    assert np.array_equal(read_frame(tmp_path / "a.jpg").pixels, RAMP)


def test_a_name_in_any_alphabet_is_read(tmp_path):
    assert np.array_equal(read_frame(save(tmp_path / "щитовидная 甲状腺 é (1).png", RAMP)).pixels, RAMP)


def test_cmyk_becomes_red_green_blue(tmp_path):
    ink = np.zeros((16, 16, 4), np.uint8)
    ink[..., 0] = 255  # full cyan, no other ink: no red at all
    Image.frombytes("CMYK", (16, 16), ink.tobytes()).save(tmp_path / "a.tif")
    assert read_frame(tmp_path / "a.tif").pixels[8, 8].tolist() == [0, 255, 255]


def test_a_palette_is_looked_up(tmp_path):
    image = Image.new("P", (16, 16), 3)
    image.putpalette([0, 0, 0, 1, 1, 1, 2, 2, 2, 200, 100, 50])
    image.save(tmp_path / "a.png")
    assert read_frame(tmp_path / "a.png").pixels[0, 0].tolist() == [200, 100, 50]


def test_transparent_pixels_lie_over_black(tmp_path):
    # 200 at an opacity of 128/255 over black is 100.4
    rgba = np.full((16, 16, 4), 200, np.uint8)
    rgba[..., 3] = 128
    rgba[0, 0, 3] = 0
    pixels = read_frame(save(tmp_path / "a.png", rgba)).pixels
    assert pixels[0, 0].tolist() == [0, 0, 0]
    assert pixels[5, 5].tolist() == [100, 100, 100]
    grey_alpha = read_frame(save(tmp_path / "b.png", rgba[..., 2:])).pixels
    assert grey_alpha.shape == (16, 16)
    assert (grey_alpha[0, 0], grey_alpha[5, 5]) == (0, 100)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits_are_scaled_by_the_depth_that_holds_them(tmp_path, suffix):
    # the largest value, 4000, needs 12 bits: 4095 would be 255, so 4000 is 249.08 and 2048 is 127.53
    deep = np.full((16, 16), 2048, np.uint16)
    deep[0, 0] = 4000
    pixels = read_frame(save(tmp_path / f"a.{suffix}", deep)).pixels
    assert (pixels[0, 0], pixels[1, 1]) == (249, 128)


def test_one_bit_is_black_and_white(tmp_path):
    pixels = read_frame(save(tmp_path / "a.png", RAMP, mode="1")).pixels
    assert set(np.unique(pixels)) == {0, 255}


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    turned = read_frame(save(tmp_path / "a.png", RAMP, exif=exif)).pixels
    assert np.array_equal(turned, np.rot90(RAMP, -1))


@pytest.mark.parametrize("suffix", ["gif", "tif", "png", "webp"])
def test_animations_and_pages_give_frames_in_order(tmp_path, suffix):
    levels = [10, 80, 150, 220]
    first, *rest = [Image.fromarray(np.full((16, 24), level, np.uint8)) for level in levels]
    how = {"lossless": True} if suffix == "webp" else {}
    first.save(tmp_path / f"a.{suffix}", save_all=True, append_images=rest, **how)
    frames = list(read_frames(tmp_path / f"a.{suffix}"))
    assert [int(frame.pixels.flat[0]) for frame in frames] == levels
    assert [(f.source.frame_index, f.source.num_frames) for f in frames] == [(n, 4) for n in range(4)]
    thinned = read_frames(tmp_path / f"a.{suffix}", max_frames=2)
    assert [frame.source.frame_index for frame in thinned] == [1, 3]


def test_frames_are_the_middles_of_equal_stretches():
    assert list(spread(10, 1)) == [5]
    assert list(spread(120, 3)) == [20, 60, 100]
    assert list(spread(3, 5)) == [0, 1, 2]
    assert list(spread(4, None)) == [0, 1, 2, 3]


@given(st.integers(1, 5000), st.integers(1, 60))
def test_chosen_frames_are_distinct_ascending_and_inside(num_frames, max_frames):
    chosen = list(spread(num_frames, max_frames))
    assert len(chosen) == min(num_frames, max_frames)
    assert chosen == sorted(set(chosen))
    assert chosen[0] >= 0
    assert chosen[-1] < num_frames


def test_no_frames_at_all_is_a_bad_argument(tmp_path):
    with pytest.raises(ValueError, match="max_frames must be at least 1"):
        read_frames(tmp_path / "a.png", max_frames=0)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.png", b"", "empty.png: is empty"),
        ("text.png", b"patient 12\n" * 100, "is not an image"),
        ("html.jpg", b"<html><body>404 Not Found</body></html>", "is not an image"),
        ("bad.dcm", b"patient 12\n" * 100, "bad.dcm: is not DICOM"),
        ("magic.dcm", b"\0" * 128 + b"DICM", "is not DICOM"),
        ("eps.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n", "is not an image"),
    ],
)
def test_what_is_no_image_says_so(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=message):
        read_frame(tmp_path / name)


def test_a_missing_file_and_a_folder_say_so(tmp_path):
    with pytest.raises(ImageError, match="No such file"):
        read_frame(tmp_path / "a.png")
    with pytest.raises(ImageError, match="is a folder"):
        read_frame(tmp_path)
    os.mkfifo(tmp_path / "b.png")  # opening it would wait for ever
    with pytest.raises(ImageError, match="is a pipe or a device"):
        read_frame(tmp_path / "b.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "gif", "jp2"])
@pytest.mark.parametrize("kept_ratio", [0.05, 0.5, 0.9])
def test_a_truncated_file_is_an_error_never_a_half_grey_picture(tmp_path, suffix, kept_ratio):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    whole = save(tmp_path / f"a.{suffix}", noise).read_bytes()
    (tmp_path / f"b.{suffix}").write_bytes(whole[: int(len(whole) * kept_ratio)])
    with pytest.raises(ImageError, match=rf"b\.{suffix}"):
        list(read_frames(tmp_path / f"b.{suffix}"))


def test_one_pixel_is_too_small(tmp_path):
    with pytest.raises(ImageError, match=r"is 1 x 1 px.*too small"):
        read_frame(save(tmp_path / "a.png", RAMP[:1, :1]))


@pytest.mark.parametrize(("height", "width"), [(20_000, 20_000), (10, 20_000), (9_000, 9_000)])
def test_huge_sizes_are_refused_from_the_header(tmp_path, height, width, monkeypatch):
    path = tmp_path / "a.png"
    Image.new("1", (width, height)).save(path)
    monkeypatch.setattr(read, "_pixels", lambda _: pytest.fail("was decoded"))
    with pytest.raises(ImageError, match="too large"):
        read_frame(path)


def test_the_largest_size_that_is_allowed_is_read(tmp_path):
    assert read_frame(save(tmp_path / "a.png", np.zeros((8, limits.MAX_SIDE_PX), np.uint8))).height == 8


def test_hidden_files_and_other_kinds_are_no_images(tmp_path):
    yes = ["a.png", "a.JPG", "a.b.dcm", "a.tiff", "a.mp4", "a.MOV", "a.nii", "a.nii.gz", "a.mhd", "a.NRRD"]
    no = ["._a.png", "a.csv", "a.gz", "a.raw", "a.npy", "a.h5", "a.mat", "a.mp3"]
    no += ["IM_0001", "1.2.840.113619", "README"]
    assert [is_image_path(tmp_path / name) for name in yes + no] == [True] * len(yes) + [False] * len(no)
    (tmp_path / "IM_0001").write_bytes(b"\0" * 128 + b"DICM")
    (tmp_path / "1.2.840.113619").write_bytes(b"\0" * 128 + b"DICM")
    assert is_image_path(tmp_path / "IM_0001")
    assert is_image_path(tmp_path / "1.2.840.113619")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    place=st.integers(0, 10_000),
    value=st.integers(0, 255),
    suffix=st.sampled_from(["png", "gif", "tif", "bmp"]),
)
def test_a_flipped_byte_gives_pixels_or_an_image_error(tmp_path, place, value, suffix):
    whole = io.BytesIO()
    Image.fromarray(RAMP).save(whole, format={"tif": "TIFF"}.get(suffix, suffix.upper()))
    damaged = bytearray(whole.getvalue())
    damaged[place % len(damaged)] = value
    (tmp_path / f"a.{suffix}").write_bytes(damaged)
    try:
        frames = list(read_frames(tmp_path / f"a.{suffix}"))
    except ImageError:
        return
    assert all(frame.pixels.dtype == np.uint8 for frame in frames)
