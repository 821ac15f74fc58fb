"""Clips: the frames that are asked for, exactly, or a message that says what is wrong."""

import struct
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from usfmae.base.errors import ImageError
from usfmae.images import clip
from usfmae.images.clip import clip_frames, find_demuxer
from usfmae.images.read import num_frames, read_frame, read_frames

HEIGHT, WIDTH = 48, 64
NOISE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH)).astype(np.uint8)


def moving(count: int) -> list[np.ndarray]:
    """Frames that differ from each other everywhere."""
    return [np.roll(NOISE, 3 * index, axis=1) for index in range(count)]


def write(path: Path, frames, codec: str, *, pix_fmt: str = "yuv420p", turn: int = 0, gop: int = 6, **how):
    with av.open(str(path), "w", options=how.pop("container", {})) as container:
        stream = container.add_stream(codec, rate=25, options={**how})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.codec_context.gop_size = pix_fmt, gop
        if turn:
            stream.set_display_rotation(turn)
        for pixels in frames:
            kind = "gray" if pixels.ndim == 2 else "rgb24"
            picture = av.VideoFrame.from_ndarray(pixels, format=kind).reformat(format=pix_fmt)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


H264 = {"preset": "fast", "x264-params": "bframes=2:log-level=none", "crf": "18"}
OPEN = {"x264-params": "open-gop=1:keyint=6:min-keyint=6:scenecut=0:bframes=2:log-level=none"}
KINDS = {
    "a.mp4": ("mpeg4", {"bf": "2"}),
    "b.mp4": ("libx264", H264),
    "c.mov": ("libx264", H264),
    "d.avi": ("mpeg4", {}),
    "e.avi": ("mjpeg", {"pix_fmt": "yuvj420p"}),
    "f.avi": ("libx264", H264),  # FFmpeg's times are wrong here: storage order, not that of showing
    "g.mkv": ("libx264", H264),
    "h.mkv": ("libx264", OPEN),
    "i.mpeg": ("mpeg2video", {"bf": "2"}),
    "j.mpg": ("mpeg1video", {}),
    "k.webm": ("libvpx", {"deadline": "realtime"}),
    "l.wmv": ("wmv2", {}),
    "m.m4v": ("mpeg4", {}),
}  # fmt: skip


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for name, (codec, how) in KINDS.items():
        container = {"format": "mp4"} if name.endswith("m4v") else {}
        write(folder / name, moving(31), codec, **how, container=container)
    return folder


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_gives_all_its_frames_in_order(clips, name):
    frames = list(read_frames(clips / name))
    assert [(f.source.frame_index, f.source.num_frames) for f in frames] == [(n, 31) for n in range(31)]
    assert num_frames(clips / name) == 31
    # Which frame it is shows in spite of compression: the nearest original is the one of that number.
    originals = np.stack(moving(31)).astype(float)
    for index in (0, 7, 30):
        errors = np.abs(originals - frames[index].pixels[..., 1]).mean(axis=(1, 2))
        assert int(errors.argmin()) == index


@pytest.mark.parametrize("name", KINDS)
def test_a_chosen_frame_equals_that_of_a_full_decode(clips, name):
    whole = [frame.pixels for frame in read_frames(clips / name)]
    for index in (0, 1, 6, 11, 12, 13, 29, 30):
        frame = read_frame(clips / name, index)
        assert frame.source.frame_index == index
        assert np.array_equal(frame.pixels, whole[index])
    thinned = list(read_frames(clips / name, max_frames=5))
    assert [frame.source.frame_index for frame in thinned] == [3, 9, 15, 21, 27]
    assert all(np.array_equal(frame.pixels, whole[frame.source.frame_index]) for frame in thinned)


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "rawvideo"), ("b.avi", "ffv1"), ("c.mkv", "ffv1")])
def test_grey_clips_without_loss_come_back_exactly(tmp_path, name, codec):
    originals = [frame[:, :63] for frame in moving(9)]  # an odd width: rows are padded in the decoder
    frames = list(read_frames(write(tmp_path / name, originals, codec, pix_fmt="gray")))
    assert all(np.array_equal(frame.pixels, pixels) for frame, pixels in zip(frames, originals, strict=True))
    assert frames[0].spacing_mm is None


def test_colour_without_loss_comes_back_as_red_green_blue(tmp_path):
    colours = [np.stack([frame, frame // 2, 255 - frame], axis=-1) for frame in moving(3)]
    frames = list(read_frames(write(tmp_path / "a.mkv", colours, "ffv1", pix_fmt="bgr0")))
    assert all(np.array_equal(frame.pixels, pixels) for frame, pixels in zip(frames, colours, strict=True))


def test_ten_bits_of_grey_become_eight(tmp_path):
    frames = list(read_frames(write(tmp_path / "a.mkv", moving(2), "ffv1", pix_fmt="gray10le")))
    assert frames[0].pixels.shape == (HEIGHT, WIDTH)
    assert np.abs(frames[0].pixels.astype(int) - NOISE).max() <= 1


def test_a_turned_clip_is_shown_upright(tmp_path):
    lying = write(tmp_path / "a.mkv", moving(2), "ffv1", pix_fmt="gray", turn=90)
    assert np.array_equal(read_frame(lying).pixels, np.rot90(NOISE))  # degrees count against the clock


def test_a_late_frame_is_decoded_from_the_key_frame_before_it(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mp4", moving(120), "mpeg4", gop=10)
    decoded = []
    raw = clip._raw

    def counting(packets, stream):
        for picture in raw(packets, stream):
            decoded.append(picture.pts)
            yield picture

    monkeypatch.setattr(clip, "_raw", counting)
    read_frame(path, 115)
    assert len(decoded) <= 10
    decoded.clear()
    list(read_frames(path, max_frames=4))  # frames 15, 45, 75, 105: the sixth after a key frame each
    assert len(decoded) <= 4 * 10
    decoded.clear()
    assert num_frames(path) == 120
    assert decoded == []


def test_a_jump_that_goes_astray_costs_time_only(clips, monkeypatch):
    whole = [frame.pixels for frame in read_frames(clips / "b.mp4")]
    lies = {"tried": 0}

    def astray(start, container, stream, timeline):
        lies["tried"] += 1
        raise clip._AstrayError
        yield

    monkeypatch.setattr(clip, "_decoded_from", astray)
    thinned = list(read_frames(clips / "b.mp4", max_frames=3))
    assert lies["tried"] == 1
    assert [frame.source.frame_index for frame in thinned] == [5, 15, 25]
    assert all(np.array_equal(frame.pixels, whole[frame.source.frame_index]) for frame in thinned)


def test_frames_that_an_edit_leaves_out_are_not_counted(tmp_path):
    # A phone trims by an edit list: frames 30..59 of 120 are shown, all of them are still stored.
    path = write(tmp_path / "a.mp4", moving(120), "libx264", **H264)
    whole = [frame.pixels for frame in read_frames(path)]
    content = bytearray(path.read_bytes())
    place = content.find(b"elst") + 12
    duration, first = struct.unpack_from(">Ii", content, place)
    struct.pack_into(">Ii", content, place, duration // 4, first + 30 * 512)
    path.write_bytes(content)
    frames = list(read_frames(path))
    assert len(frames) == num_frames(path) == 30
    assert np.array_equal(frames[0].pixels, whole[30])
    assert np.array_equal(frames[-1].pixels, whole[59])


def test_a_frame_beyond_the_last_one_says_so(clips):
    with pytest.raises(ImageError, match=r"has 31 frames; there is no frame 31"):
        read_frame(clips / "a.mp4", 31)
    with pytest.raises(ValueError, match="index must be at least 0"):
        read_frame(clips / "a.mp4", -1)
    with pytest.raises(ImageError, match="so it has no array 'images'"):
        read_frame(clips / "a.mp4", key="images")


@pytest.mark.parametrize("name", [name for name in KINDS if name != "l.wmv"])
@pytest.mark.parametrize("kept_ratio", [0.02, 0.3, 0.7, 0.9])
def test_a_truncated_clip_is_an_error_after_the_frames_before(clips, tmp_path, name, kept_ratio):
    whole = [frame.pixels for frame in read_frames(clips / name)]
    content = (clips / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(len(content) * kept_ratio)])
    seen = []
    with pytest.raises(ImageError, match=name):
        seen.extend(read_frames(tmp_path / name))
    assert all(np.array_equal(frame.pixels, pixels) for frame, pixels in zip(seen, whole, strict=False))


def test_frames_before_the_end_of_a_truncated_clip_are_given(clips, tmp_path):
    content = (clips / "e.avi").read_bytes()
    (tmp_path / "a.avi").write_bytes(content[: len(content) // 2])
    frames = read_frames(tmp_path / "a.avi")
    assert [next(frames).source.frame_index for _ in range(12)] == list(range(12))
    with pytest.raises(ImageError, match=r"a\.avi: .*(damaged|cut short)"):
        list(frames)
    with pytest.raises(ImageError, match=r"is cut short \([\d,]+ of [\d,]+ bytes are there\)"):
        num_frames(tmp_path / "a.avi")
    assert read_frame(tmp_path / "a.avi").source.frame_index == 0


@pytest.mark.parametrize("name", ["b.mp4", "d.avi", "e.avi", "i.mpeg"])
def test_a_damaged_frame_is_never_shown(clips, tmp_path, name):
    whole = [frame.pixels for frame in read_frames(clips / name)]
    content = bytearray((clips / name).read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = bytes(200)
    (tmp_path / name).write_bytes(content)
    seen = []
    with pytest.raises(ImageError, match=name):
        seen.extend(read_frames(tmp_path / name))
    assert 1 <= len(seen) < 31
    assert all(np.array_equal(frame.pixels, pixels) for frame, pixels in zip(seen, whole, strict=False))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.mp4", b"", r"a\.mp4: is empty \(0 bytes\)"),
        ("b.mp4", bytes(5000), "is not an image"),
        ("c.mp4", b"patient 12\n" * 100, "is not an image"),
        ("d.mp4", b"\0\0\0\x18ftypisom" + bytes(2000), "d.mp4: a clip that is damaged"),
        ("e.avi", b"RIFF\xff\0\0\0AVI LIST" + bytes(500), "e.avi: a clip"),
        ("f.mpeg", b"\0\0\1\xba" + bytes(500), "f.mpeg: a clip|without a single frame|holds no video"),
        ("g.mp4", b"\0\0\0\x18ftypavif" + bytes(500), "is not an image"),
    ],
)
def test_what_is_no_clip_says_so(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=message):
        read_frame(tmp_path / name)


def test_sound_alone_is_no_clip(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(ImageError, match="holds no video"):
        num_frames(tmp_path / "a.mp4")


def test_tiny_and_huge_sizes_are_refused_before_decoding(tmp_path, monkeypatch):
    monkeypatch.setattr(clip, "_raw", lambda *_: pytest.fail("was decoded"))
    wide = [np.zeros((16, 10_016), np.uint8)]
    with pytest.raises(ImageError, match="too large"):
        read_frame(write(tmp_path / "a.avi", wide, "rawvideo", pix_fmt="gray"))
    with pytest.raises(ImageError, match="too small"):
        read_frame(write(tmp_path / "b.avi", [NOISE[:4, :4]], "rawvideo", pix_fmt="gray"))


def test_the_content_decides_not_the_name(clips, tmp_path):
    (tmp_path / "a.png").write_bytes((clips / "b.mp4").read_bytes())
    assert read_frame(tmp_path / "a.png").source.num_frames == 31
    Image.fromarray(NOISE).save(tmp_path / "b.mp4", format="PNG")
    assert np.array_equal(read_frame(tmp_path / "b.mp4").pixels, NOISE)


def test_a_name_is_never_an_address_and_may_be_in_any_alphabet(clips, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("concat:a|b.mp4", "щитовидная 甲 é.mp4", "clip\udce9.mp4"):
        Path(name).write_bytes((clips / "b.mp4").read_bytes())
        assert num_frames(Path(name)) == 31


def test_containers_are_told_by_their_first_bytes(clips):
    names = {"mp4": "mov", "mov": "mov", "m4v": "mov", "avi": "avi", "mkv": "matroska", "webm": "matroska"}
    names |= {"mpeg": "mpeg", "mpg": "mpeg", "wmv": "asf"}
    for name in KINDS:
        assert find_demuxer((clips / name).read_bytes()[:512]) == names[name.rpartition(".")[2]]
    stream = (b"\x47" + bytes(187)) * 3
    assert find_demuxer(stream) == "mpegts"
    assert find_demuxer(b"GIF89a" + stream[6:]) is None
    assert find_demuxer(b"RIFF\0\0\0\0WEBPVP8 ") is None


def test_choosing_no_frame_decodes_none(clips):
    assert list(clip_frames(clips / "b.mp4", choose=lambda count: [])) == []
