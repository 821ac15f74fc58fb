"""Stored arrays: the array that is named, read piece by piece, or a message that says what is wrong."""

import pickle
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from usfmae.base.errors import ImageError
from usfmae.images import arrays, limits, stack
from usfmae.images.arrays import array_frames, array_shapes
from usfmae.images.read import num_frames, read_frame, read_frames

GREY = np.random.default_rng(0).integers(0, 256, (5, 24, 20)).astype(np.uint8)  # frame, down, across
COLOUR = np.random.default_rng(1).integers(0, 256, (5, 24, 20, 3)).astype(np.uint8)


def write_npy(path: Path, numbers) -> Path:
    np.save(path, numbers, allow_pickle=numbers.dtype.hasobject)
    return path


def write_hdf5(path: Path, **named) -> Path:
    with h5py.File(path, "w") as file:
        for key, numbers in named.items():
            file[key.replace("__", "/")] = numbers
    return path


def write_matlab_73(path: Path, **named) -> Path:
    """As MATLAB does: a text of 512 bytes before the HDF5, axes turned round, the class noted."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for key, (numbers, kind) in named.items():
            file[key] = numbers.T
            file[key].attrs["MATLAB_class"] = np.bytes_(kind)
    content = bytearray(path.read_bytes())
    content[:64] = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(64)
    path.write_bytes(content)
    return path


def pixels_of(path: Path, key: str | None = None, **how) -> list[np.ndarray]:
    return [frame.pixels for frame in array_frames(path, key, choose=range, **how)]


@pytest.mark.parametrize(
    "stored", [GREY, COLOUR, GREY[0], COLOUR[0], GREY[:, :, :, None], GREY[None, :, None]]
)
@pytest.mark.parametrize("kind", ["npy", "h5"])
def test_every_shape_comes_back_exactly(tmp_path, stored, kind):
    path = tmp_path / f"a.{kind}"
    write_npy(path, stored) if kind == "npy" else write_hdf5(path, images=stored)
    frames = list(read_frames(path))
    expected = np.squeeze(stored)
    assert np.array_equal([frame.pixels for frame in frames], expected if len(frames) > 1 else expected[None])
    assert num_frames(path) == len(frames)
    assert frames[0].spacing_mm is None
    last = read_frame(path, len(frames) - 1)
    assert np.array_equal(last.pixels, frames[-1].pixels)
    assert last.source.frame_index == len(frames) - 1


@pytest.mark.parametrize("write", ["old", "7.3"])
def test_matlab_counts_frames_last(tmp_path, write):
    grey, colour = GREY.transpose(1, 2, 0), COLOUR.transpose(1, 2, 3, 0)
    if write == "old":
        scipy.io.savemat(tmp_path / "a.mat", {"grey": grey, "colour": colour, "one": COLOUR[0], "x": 1.0})
    else:
        named = {"grey": (grey, "uint8"), "colour": (colour, "uint8"), "one": (COLOUR[0], "uint8")}
        write_matlab_73(tmp_path / "a.mat", **named)
    path = tmp_path / "a.mat"
    assert np.array_equal(pixels_of(path, "grey"), GREY)
    assert np.array_equal(pixels_of(path, "colour"), COLOUR)
    assert np.array_equal(pixels_of(path, "one"), COLOUR[:1])
    assert array_shapes(path)["grey"] == (24, 20, 5)
    assert np.array_equal(read_frame(path, 3, key="grey").pixels, GREY[3])


def test_a_file_that_counts_frames_at_the_other_end_is_read_when_told(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"images": GREY})
    assert np.array_equal(pixels_of(tmp_path / "a.mat", frame_axis="first"), GREY)
    path = write_hdf5(tmp_path / "a.h5", images=GREY.transpose(1, 2, 0))
    assert np.array_equal(pixels_of(path, frame_axis="last"), GREY)


def test_matlab_logicals_are_black_and_white_and_texts_are_no_pictures(tmp_path):
    ones = np.ones((16, 16), np.uint8)
    path = write_matlab_73(tmp_path / "a.mat", lesion=(ones, "logical"), text=(ones.astype("u2"), "char"))
    assert array_shapes(path) == {"lesion": (16, 16)}
    assert int(read_frame(path).pixels[0, 0]) == 255
    scipy.io.savemat(tmp_path / "b.mat", {"lesion": ones.astype(bool), "text": "abc", "cell": {"a": 1}})
    assert array_shapes(tmp_path / "b.mat") == {"lesion": (16, 16)}
    assert int(read_frame(tmp_path / "b.mat").pixels[0, 0]) == 255


def test_an_array_inside_a_group_is_named_by_its_path(tmp_path):
    path = write_hdf5(tmp_path / "a.h5", train__images=GREY, test__images=GREY[::-1].copy())
    assert np.array_equal(pixels_of(path, "train/images"), GREY)
    assert np.array_equal(pixels_of(path, "/test/images/"), GREY[::-1])
    frames = read_frames(path, key="train/images", max_frames=1)
    assert [frame.source.frame_index for frame in frames] == [2]


def test_the_only_array_of_pictures_needs_no_name(tmp_path):
    path = write_hdf5(tmp_path / "a.h5", images=GREY, labels=np.arange(5), boxes=np.zeros((5, 4)))
    assert np.array_equal(pixels_of(path), GREY)


@pytest.mark.parametrize(
    ("named", "key", "message"),
    [
        ({"images": GREY, "masks": GREY}, None,
         r"2 arrays can be pictures.*'images' \(5, 24, 20\) uint8, 'masks' \(5, 24, 20\) uint8"),
        ({"labels": np.zeros((5, 2))}, None, r"no array can be pictures; it holds 'labels' \(5, 2\) float64"),
        ({"labels": np.arange(5)}, None, "it holds no array of numbers at all"),
        ({"images": GREY}, "image", r"no array of numbers 'image'; it holds 'images' \(5, 24, 20\) uint8"),
        ({"labels": np.zeros((5, 2))}, "labels", r"'labels' of shape \(5, 2\) is no picture"),
        ({"huge": np.zeros((2, 20_000), np.uint8)}, None, "no array can be pictures"),
        ({"iq": np.zeros((16, 16), complex)}, None, "'iq' holds complex128 values.*IQ data"),
        ({"five": np.zeros((2, 2, 16, 16, 3), np.uint8)}, "five", "is no picture"),
    ],
)  # fmt: skip
def test_a_choice_that_cannot_be_made_lists_what_is_there(tmp_path, named, key, message):
    with pytest.raises(ImageError, match=message):
        pixels_of(write_hdf5(tmp_path / "a.h5", **named), key)


def test_a_long_list_is_cut(tmp_path):
    path = write_hdf5(tmp_path / "a.h5", **{f"n{number:02d}": GREY[0] for number in range(20)})
    with pytest.raises(ImageError, match=r"'n11' \(24, 20\) uint8 and 8 more"):
        pixels_of(path)


@pytest.mark.parametrize("kind", ["npy", "h5"])
def test_one_frame_of_a_long_array_loads_no_other(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    if kind == "npy":
        np.lib.format.open_memmap(path, "w+", np.uint8, (1000, 256, 256)).flush()
    else:
        with h5py.File(path, "w") as file:
            file.create_dataset("images", (1000, 256, 256), np.uint8)[999] = 7
    taken = []
    original = arrays._stack

    def watching(*args, **how):
        found = original(*args, **how)
        return type(found)(**{**vars(found), "read": lambda index: taken.append(index) or found.read(index)})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "_stack", watching)
        tracemalloc.start()
        read_frame(path, 999)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert taken == [999]
    assert peak < 2_000_000  # of 65 MB


def test_the_scale_is_that_of_the_whole_array_and_is_taken_once(tmp_path, monkeypatch):
    # Largest 255.0 in frame 9: frame 0, all 51.0, is a fifth of it.
    numbers = np.full((10, 16, 16), 51.0, np.float32)
    numbers[9] = 255.0
    path = write_npy(tmp_path / "a.npy", numbers)
    calls = []
    original = stack._take_span
    monkeypatch.setattr(stack, "_take_span", lambda found: calls.append(1) or original(found))
    assert [int(read_frame(path, index).pixels[0, 0]) for index in (0, 9, 0)] == [51, 255, 51]
    assert len(calls) == 1
    write_npy(path, np.full((12, 16, 16), 0.2, np.float32))  # a new file under the old name
    assert int(read_frame(path).pixels[0, 0]) == 51
    assert len(calls) == 2


def test_a_long_array_is_scaled_by_a_spread_of_its_frames(tmp_path, monkeypatch):
    # Every second of 4 frames is looked at (1 and 3): 200 is the largest seen, and 400 is clipped.
    monkeypatch.setattr(stack, "SPAN_SLICES", 2)
    numbers = np.stack([np.full((16, 16), value, np.float32) for value in (400, 40, 0, 200)])
    path = write_npy(tmp_path / "a.npy", numbers)
    assert [int(frame.pixels[0, 0]) for frame in read_frames(path)] == [255, 51, 0, 255]


def test_the_order_in_which_axes_are_stored_does_not_matter(tmp_path):
    stack = np.random.default_rng(0).integers(0, 256, (4, 20, 30)).astype(np.uint8)
    np.save(tmp_path / "a.npy", np.asfortranarray(stack))
    assert np.array_equal([frame.pixels for frame in read_frames(tmp_path / "a.npy")], stack)


def test_a_frame_does_not_hold_the_file(tmp_path):
    frame = read_frame(write_npy(tmp_path / "a.npy", GREY))
    assert not isinstance(frame.pixels, np.memmap)
    assert not np.shares_memory(frame.pixels, np.load(tmp_path / "a.npy"))


def test_pickled_objects_are_refused_unopened(tmp_path):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "opened",)

    refusal = "holds a pickled object, which can run code when opened"
    with pytest.raises(ImageError, match=refusal):
        read_frame(write_npy(tmp_path / "a.npy", np.array([Trap()], dtype=object)))
    for protocol in (2, 4, 5):
        (tmp_path / "b.npy").write_bytes(pickle.dumps(Trap(), protocol))
        with pytest.raises(ImageError, match=refusal):
            read_frame(tmp_path / "b.npy")
    assert not (tmp_path / "opened").exists()


def test_an_old_matlab_array_may_not_be_huge(tmp_path, monkeypatch):
    scipy.io.savemat(tmp_path / "a.mat", {"images": GREY.transpose(1, 2, 0), "other": GREY[0]})
    monkeypatch.setattr(limits, "MAX_LOADED_BYTES", 2399)
    with pytest.raises(ImageError, match=r"'images', an array of 2,400 bytes when decoded"):
        pixels_of(tmp_path / "a.mat", "images")
    assert len(pixels_of(tmp_path / "a.mat", "other")) == 1


@pytest.mark.parametrize("kind", ["npy", "h5", "mat"])
@pytest.mark.parametrize("kept_ratio", [0.01, 0.3, 0.9])
def test_a_truncated_file_is_an_error(tmp_path, kind, kept_ratio):
    path = tmp_path / f"a.{kind}"
    if kind == "npy":
        write_npy(path, GREY)
    elif kind == "h5":
        write_hdf5(path, images=GREY)
    else:
        scipy.io.savemat(path, {"images": GREY.transpose(1, 2, 0)}, do_compression=True)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept_ratio)])
    with pytest.raises(ImageError, match=rf"a\.{kind}"):
        list(read_frames(path))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npy", b"patient 12\n", "is not an image"),
        ("b.h5", b"\x89HDF\r\n\x1a\n" + bytes(600), "b.h5: an HDF5 file that is damaged"),
        ("c.mat", b"MATLAB 5.0 MAT-file".ljust(128) + b"\xff" * 64, "c.mat: "),
        ("d.npy", b"\x93NUMPY\x01\x00" + b"\xff" * 40, "d.npy: a NumPy file that is damaged"),
    ],
)
def test_what_is_no_array_says_so(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=message):
        read_frame(tmp_path / name)


def test_other_files_are_refused_by_name(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"patient 12\n")
    with pytest.raises(ImageError, match="is no HDF5, MATLAB or NumPy file"):
        array_shapes(tmp_path / "a.txt")
    with pytest.raises(ImageError, match=r"holds no array of numbers 'x'; it holds ''"):
        read_frame(write_npy(tmp_path / "a.npy", GREY), key="x")


def test_an_empty_stack_says_so(tmp_path):
    with pytest.raises(ImageError, match="holds no image"):
        read_frame(write_npy(tmp_path / "a.npy", np.zeros((0, 24, 20), np.uint8)))
