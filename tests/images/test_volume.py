"""Volumes: the slices that were stored, on one scale, or a message that says what is wrong."""

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from usfmae.base.errors import ImageError
from usfmae.images import limits
from usfmae.images.read import num_frames, read_frame, read_frames

SLICES = np.random.default_rng(0).integers(0, 256, (5, 24, 20)).astype(np.uint8)  # slice, down, across
NAMES = ["a.nii", "a.nii.gz", "a.mha", "a.mhd", "a.nrrd", "a.nhdr", "packed.mha", "packed.mhd", "packed.nrrd"]


def write(path: Path, numbers, spacing=None, *, vector: bool = False) -> Path:
    image = SimpleITK.GetImageFromArray(numbers, isVector=vector)
    if spacing:
        image.SetSpacing(spacing)
    SimpleITK.WriteImage(image, str(path), path.name.startswith("packed"))
    return path


def write_meta(path: Path, numbers, **fields) -> Path:
    """A MetaImage by hand, with any header."""
    sizes = " ".join(str(size) for size in numbers.shape[::-1])
    known = {"NDims": numbers.ndim, "DimSize": sizes, "ElementType": "MET_UCHAR", **fields}
    lines = "".join(f"{name} = {value}\n" for name, value in known.items() if value is not None)
    path.write_bytes(f"ObjectType = Image\n{lines}ElementDataFile = LOCAL\n".encode() + numbers.tobytes())
    return path


@pytest.mark.parametrize("name", NAMES)
def test_slices_come_back_exactly_and_upright(tmp_path, name):
    frames = list(read_frames(write(tmp_path / name, SLICES, (0.1, 0.25, 3.0))))
    assert np.array_equal([frame.pixels for frame in frames], SLICES)
    assert [(f.source.frame_index, f.source.num_frames) for f in frames] == [(n, 5) for n in range(5)]
    assert frames[0].spacing_mm == (0.25, 0.1)  # (down, across); ITK counts across first
    assert num_frames(tmp_path / name) == 5
    assert np.array_equal(read_frame(tmp_path / name, 3).pixels, SLICES[3])
    assert [frame.source.frame_index for frame in read_frames(tmp_path / name, max_frames=2)] == [1, 3]
    with pytest.raises(ImageError, match="has 5 frames; there is no frame 5"):
        read_frame(tmp_path / name, 5)


@pytest.mark.parametrize("name", NAMES)
def test_a_flat_file_is_one_frame(tmp_path, name):
    if "nhdr" not in name and "mhd" not in name:
        one = write(tmp_path / f"one-{name}", SLICES[:1])
        assert np.array_equal(read_frame(one).pixels, SLICES[0])
    frame = read_frame(write(tmp_path / name, SLICES[0]))
    assert np.array_equal(frame.pixels, SLICES[0])
    assert frame.source.num_frames == 1


@pytest.mark.parametrize("name", NAMES)
def test_three_numbers_per_pixel_are_a_colour_picture(tmp_path, name):
    colours = np.random.default_rng(1).integers(0, 256, (4, 24, 20, 3)).astype(np.uint8)
    frames = list(read_frames(write(tmp_path / name, colours, vector=True)))
    assert np.array_equal([frame.pixels for frame in frames], colours)
    flat = read_frame(write(tmp_path / name, colours[0], vector=True))
    assert np.array_equal(flat.pixels, colours[0])


@pytest.mark.parametrize("name", ["a.nii", "a.mha", "a.nrrd"])
def test_other_numbers_of_numbers_per_pixel_are_refused(tmp_path, name):
    path = write(tmp_path / name, np.zeros((4, 24, 20, 2), np.uint8), vector=True)
    with pytest.raises(ImageError, match="has 2 numbers per pixel"):
        read_frame(path)


def test_an_axis_of_three_is_three_slices(tmp_path):
    path = write(tmp_path / "a.mha", SLICES[:3])  # as FH-PS-AOP stores its pictures
    assert [frame.pixels.shape for frame in read_frames(path)] == [(24, 20)] * 3


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mha", "packed.mha", "a.nrrd"])
def test_all_slices_share_one_scale(tmp_path, name):
    # Smallest -100 and largest 155 over the whole volume: value + 100 is the grey level.
    deep = np.full((3, 16, 16), -100, np.int16)
    deep[1], deep[2, 0, 0] = 0, 155
    path = write(tmp_path / name, deep)
    assert [int(frame.pixels[5, 5]) for frame in read_frames(path)] == [0, 100, 0]
    assert int(read_frame(path, 1).pixels[5, 5]) == 100
    assert int(read_frame(path, 2).pixels[0, 0]) == 255


def test_deep_and_fractional_volumes_follow_the_rule_of_stills(tmp_path):
    # 4000 needs 12 bits: 2048 * 255 / 4095 = 127.53; fractions within [0, 1] are multiplied by 255
    deep = np.full((2, 16, 16), 2048, np.uint16)
    deep[1, 0, 0] = 4000
    assert int(read_frame(write(tmp_path / "a.nii", deep)).pixels[1, 1]) == 128
    ratio = np.full((2, 16, 16), 0.2, np.float32)
    assert int(read_frame(write(tmp_path / "b.nrrd", ratio)).pixels[1, 1]) == 51
    swapped = write_meta(
        tmp_path / "c.mha", deep.astype(">u2"), ElementType="MET_USHORT", BinaryDataByteOrderMSB=True
    )
    assert int(read_frame(swapped).pixels[1, 1]) == 128


def test_nifti_values_go_through_slope_and_intercept(tmp_path):
    # 100 * 0.5 + 10 = 60 and 0 * 0.5 + 10 = 10; floats beyond 1: smallest (with 0 inside) to largest
    content = bytearray(write(tmp_path / "a.nii", np.full((1, 16, 16), 100, np.uint8)).read_bytes())
    content[352] = 0
    struct.pack_into("<2f", content, 112, 0.5, 10.0)
    (tmp_path / "a.nii").write_bytes(content)
    pixels = read_frame(tmp_path / "a.nii").pixels
    assert (pixels[0, 0], pixels[1, 1]) == (round(255 * 10 / 60), 255)


def test_nifti_2_and_the_other_byte_order_are_read(tmp_path):
    header = bytearray(540)
    struct.pack_into(">i8shh8q", header, 0, 540, b"n+2\0\r\n\x1a\n", 4, 16, 3, 20, 24, 5, 1, 1, 1, 1)
    struct.pack_into(">4d", header, 104, 0, 50, 250, 1)
    struct.pack_into(">q", header, 168, 544)
    struct.pack_into(">i", header, 500, 3)  # micrometres
    (tmp_path / "a.nii").write_bytes(
        bytes(header) + bytes(4) + (SLICES.astype(int) * 128).astype(">i2").tobytes()
    )
    frame = read_frame(tmp_path / "a.nii", 4)
    assert frame.spacing_mm == (0.25, 0.05)
    assert np.abs(frame.pixels.astype(int) - SLICES[4]).max() <= 1  # 32640 of 32767 is 254


@pytest.mark.parametrize("name", ["a.nii", "a.mha", "a.nrrd"])
def test_values_that_are_no_numbers_are_black(tmp_path, name):
    holes = np.full((2, 16, 16), 0.5, np.float32)
    holes[0, 0, :3] = np.nan, np.inf, -np.inf
    pixels = read_frame(write(tmp_path / name, holes)).pixels
    assert pixels[0, :4].tolist() == [0, 0, 0, 128]
    with pytest.raises(ImageError, match="holds no finite number"):
        read_frame(write(tmp_path / name, np.full((2, 16, 16), np.nan, np.float32)))


@pytest.mark.parametrize("name", ["a.nii", "a.mha", "a.nrrd"])
def test_volumes_over_time_are_refused_unless_an_axis_is_one(tmp_path, name):
    moving = np.stack([SLICES, SLICES])
    with pytest.raises(ImageError, match=r"is 4-dimensional \(20 x 24 x 5 x 2\)"):
        read_frame(write(tmp_path / name, moving))
    for numbers in (SLICES[None], SLICES[:, None]):
        frames = read_frames(write(tmp_path / name, numbers))
        assert np.array_equal([frame.pixels for frame in frames], SLICES)


@pytest.mark.parametrize(
    ("spacing", "pitch"),
    [
        ("-0.1 0.2 1", (0.2, 0.1)),
        ("0 0 0", None),
        ("1e9 0.1 1", None),
        ("nan nan nan", None),
        ("1 1 1", None),
        ("1 1.5 1", (1.5, 1.0)),
        ("0.1 0.1", None),
        (None, None),
    ],
)
def test_a_pitch_that_cannot_be_is_unknown(tmp_path, spacing, pitch):
    frame = read_frame(write_meta(tmp_path / "a.mha", SLICES, ElementSpacing=spacing))
    assert frame.spacing_mm == pitch
    assert np.array_equal(frame.pixels, SLICES[0])


def test_nifti_directions_have_no_bearing_on_pixels(tmp_path):
    content = bytearray(write(tmp_path / "a.nii", SLICES).read_bytes())
    struct.pack_into("<3f", content, 80, -0.1, 0.2, 0.3)
    struct.pack_into("<2h", content, 252, 0, 1)
    struct.pack_into("<12f", content, 280, *[0.0] * 12)  # ITK refuses this file
    (tmp_path / "a.nii").write_bytes(content)
    frame = read_frame(tmp_path / "a.nii", 2)
    assert np.array_equal(frame.pixels, SLICES[2])
    assert frame.spacing_mm == (0.2, 0.1)


@pytest.mark.parametrize("name", ["a.nii", "a.mha", "a.nrrd", "a.nhdr"])
def test_one_slice_of_a_plain_volume_loads_no_other(tmp_path, name):
    write(tmp_path / name, np.zeros((400, 256, 256), np.uint8))  # 26 MB
    tracemalloc.start()
    try:
        read_frame(tmp_path / name, 399)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["a.nii.gz", "packed.mha", "packed.nrrd"])
def test_what_must_be_loaded_whole_may_not_be_huge(tmp_path, name, monkeypatch):
    write(tmp_path / name, SLICES)
    monkeypatch.setattr(limits, "MAX_LOADED_BYTES", 2399)
    with pytest.raises(ImageError, match=r"of 2,400 bytes when decoded.*at most 2,399"):
        num_frames(tmp_path / name)
    monkeypatch.setattr(limits, "MAX_LOADED_BYTES", 2400)
    assert num_frames(tmp_path / name) == 5


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize(
    ("fields", "before"),
    [("", b""), ("byte skip: -1\n", b"junk"), ("byteskip: 4\n", b"junk"), ("# a comment\nkey:=value\n", b"")],
)
def test_plain_nrrd_pixels_lie_where_the_header_says(tmp_path, fields, before, beside):
    numbers = (SLICES.astype(np.uint16) * 256).astype(">u2")
    header = (
        "NRRD0004\ntype: uint16\ndimension: 3\nsizes: 20  24 5\nspacings: -0.1 0.2 1\n"
        f"endian: big\nencoding: raw\n{fields}"
    )
    content = before + numbers.tobytes()
    path = tmp_path / "a.nrrd"
    if beside:
        (tmp_path / "a.raw").write_bytes(content)
        path.write_text(f"{header}data file: a.raw\n\n")
    else:
        path.write_bytes(f"{header}\n".encode() + content)
    frames = list(read_frames(path))
    assert np.array_equal([frame.pixels for frame in frames], np.rint(SLICES * (256 * 255 / 65535)))
    assert frames[0].spacing_mm == (0.2, 0.1)
    place = tmp_path / "a.raw" if beside else path
    place.write_bytes(place.read_bytes()[:1000])
    with pytest.raises(ImageError, match=r"is cut short|damaged"):
        num_frames(path)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kept_ratio", [0.01, 0.4, 0.9, 0.99])
def test_a_truncated_volume_is_an_error(tmp_path, name, kept_ratio):
    path = write(tmp_path / name, SLICES)
    target = next(iter(tmp_path.glob("*raw*")), path)  # the file with the pixels
    content = target.read_bytes()
    target.write_bytes(content[: int(len(content) * kept_ratio)])
    with pytest.raises(ImageError, match=r"a\.|packed\."):
        list(read_frames(path))


@pytest.mark.parametrize("name", ["a.nii.gz", "packed.mha", "packed.mhd", "packed.nrrd"])
def test_damaged_compressed_pixels_are_never_shown(tmp_path, name):
    path = write(tmp_path / name, SLICES)
    target = next(iter(tmp_path.glob("*raw")), path)
    content = bytearray(target.read_bytes())
    content[len(content) * 2 // 3] ^= 0x10
    target.write_bytes(content)
    with pytest.raises(ImageError, match=name):
        list(read_frames(path))


def test_pixels_that_lie_beside_are_named_when_missing(tmp_path):
    path = write(tmp_path / "a.mhd", SLICES)
    (tmp_path / "a.raw").unlink()
    with pytest.raises(ImageError, match=r"a\.mhd: its pixels should be in a\.raw, which is not there"):
        read_frame(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.nii", bytes(5000), "is not an image"),
        ("b.nii.gz", b"\x1f\x8b" + bytes(100), r"b\.nii\.gz: NIfTI that is damaged"),
        ("c.nii.gz", gzip.compress(b"patient 12\n" * 100, mtime=0), "is not an image"),
        ("d.mha", b"ObjectType = Image\nNDims = 3\n", "its header does not end"),
        ("e.mha", b"patient 12\n", "is not an image"),
        ("f.nrrd", b"NRRD0004\ntype: unsigned char\n", "f.nrrd: NRRD that is damaged"),
        ("g.mha", b"NDims = 2\nElementDataFile = LOCAL\n", "does not give DimSize, ElementType"),
        ("h.nrrd", b"", "is empty"),
    ],
)
def test_what_is_no_volume_says_so(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=message):
        read_frame(tmp_path / name)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"DimSize": "20 24"}, "says that it has 3 axes"),
        ({"DimSize": "20 24 0"}, "is no picture"),
        ({"DimSize": "20 20000 1"}, "too large"),
        ({"DimSize": "4 24 25"}, "too small"),
        ({"DimSize": "20 24 6"}, r"is cut short \(2,400 of 2,880 bytes"),
        ({"ElementType": "MET_STRING"}, r"of a kind that is not read \(MET_STRING\)"),
        ({"BinaryData": "False"}, "writes its pixels as text"),
    ],
)
def test_headers_that_make_no_sense_say_so(tmp_path, fields, message):
    with pytest.raises(ImageError, match=message):
        read_frame(write_meta(tmp_path / "a.mha", SLICES, **fields))


def test_complex_numbers_are_no_grey(tmp_path):
    content = bytearray(write(tmp_path / "a.nii", np.zeros((16, 16), np.float64)).read_bytes())
    struct.pack_into("<hh", content, 70, 32, 64)  # two floats of 32 bits each
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(ImageError, match=r"holds complex64 values, not grey or colour \(IQ data"):
        read_frame(tmp_path / "a.nii")
