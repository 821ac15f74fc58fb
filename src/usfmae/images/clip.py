"""Frames of video files, by FFmpeg through PyAV; called by `images.read` only.

A clip is gone through twice. First its packets are listed without decoding any (a second per GB): how many
frames there are, and which can be decoded without their predecessors (key frames). Headers are not asked:
many say nothing, or are wrong. Then the chosen frames are decoded, each from the last key frame before it.

Pixels are as stored: interlaced lines are not woven anew and oblong pixels stay oblong.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from io import SEEK_END
from itertools import chain, dropwhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from usfmae.base.errors import ImageError
from usfmae.images.decoding import decoding
from usfmae.images.frame import Colour, Frame, FrameSource, Grey
from usfmae.images.limits import MAX_AREA_PX, check_size

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.reformatter import VideoReformatter
    from av.video.stream import VideoStream

CLIP_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mpeg", ".mpg", ".mkv", ".webm", ".wmv"})
"""Names under which clips usually travel."""

HEAD_BYTES = 512
"""How much of a file `find_demuxer` and `_declared_bytes` need to see."""

STILL_BRANDS = frozenset({b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1"})
"""Stills in the wrapping of an mp4; they are not read."""

QUICKTIME_BOXES = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
"""First boxes of QuickTime files from before `ftyp`."""

ASF_GUID = bytes.fromhex("3026b2758e66cf11")
EBML_MAGIC = bytes.fromhex("1a45dfa3")
MATROSKA_SEGMENT = bytes.fromhex("18538067")

SEEKABLE = frozenset({"mov", "matroska"})
"""Containers whose timestamps are those of the frames as shown, so a frame is known by its time after a
jump. AVI has none (FFmpeg invents them in storage order), and MPEG streams have no index to jump by."""


def find_demuxer(head: bytes) -> str | None:
    """FFmpeg's name for the container that a file's first HEAD_BYTES show; None where it is no clip."""
    if head[4:8] == b"ftyp":
        return None if head[8:12] in STILL_BRANDS else "mov"
    if head[4:8] in QUICKTIME_BOXES:
        return "mov"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    starts = {EBML_MAGIC: "matroska", b"\0\0\1\xba": "mpeg", b"\0\0\1\xb3": "mpegvideo"}
    if head[:4] in starts:
        return starts[head[:4]]
    if head[:8] == ASF_GUID:
        return "asf"
    transport = len(head) > 376 and head[0] == head[188] == head[376] == 0x47  # a packet is 188 bytes
    return "mpegts" if transport and not head.startswith(b"GIF8") else None


def clip_frames(path: Path, *, choose: Callable[[int], Sequence[int]]) -> Iterator[Frame]:
    """Decode chosen frames of a clip, one at a time.

    Grey pixel formats give grey frames, everything else red-green-blue; turns by 90 degrees that the file
    asks for are made.

    Args:
        path: the file.
        choose: from the number of frames in the file to the ascending indices wanted.

    Raises:
        ImageError: no video in it, no decoder for it, or a damaged frame on the way to a chosen one; also
            after the last chosen frame where the file is shorter than it says. Frames before have been
            yielded by then, but for the one or two that the decoder still held back for reordering.
    """
    from av.video.reformatter import VideoReformatter

    converter = VideoReformatter()  # one for all frames: making one takes longer than decoding a frame
    with path.open("rb") as file:
        with decoding(path, "a clip"):
            timeline = _timeline(path, file)
        indices = choose(timeline.num_frames)
        with closing(_pictures(path, file, timeline, indices)) as pictures:
            for index in indices:
                with decoding(path, "a clip"):
                    picture = next(pictures, None)
                    if picture is None:
                        raise ImageError(
                            f"{path}: frame {index} of {timeline.num_frames} (from 0) cannot be decoded"
                        )
                    pixels = _pixels(path, picture, converter)
                yield Frame(pixels, None, FrameSource(str(path), index, timeline.num_frames))
        if timeline.cut:
            raise ImageError(f"{path}: is cut short ({timeline.cut})")


@dataclass(frozen=True)
class _Timeline:
    """What the packets of a clip say, in the order in which frames are shown."""

    demuxer: str
    num_frames: int

    starts: dict[int, int]
    """From the index of a key frame to the time to jump to; empty where jumps are not safe."""

    index_at: dict[int | None, int]
    """From the time of a frame to its index; empty where jumps are not safe."""

    cut: str
    """Why the file is taken to be cut short; empty where it is whole."""

    def start_for(self, index: int) -> int:
        """The last frame at or before `index` from which decoding may start."""
        return max((start for start in self.starts if start <= index), default=0)


@contextmanager
def _opened(path: Path, file: BinaryIO, demuxer: str) -> Iterator[tuple["InputContainer", "VideoStream"]]:
    # A file object, so that no name ("concat:...", "http://...") is ever taken for an address.
    import av

    file.seek(0)
    with av.open(file, format=demuxer) as container:
        stream = container.streams.best("video")
        if stream is None:
            raise ImageError(f"{path}: holds no video (sound only?)")
        if getattr(stream, "codec_context", None) is None:
            raise ImageError(f"{path}: holds video in a coding that cannot be read here")
        context: Any = stream.codec_context
        context.thread_count = 1  # corpus workers are the parallel ones
        context.options = {"err_detect": "explode", "max_pixels": str(MAX_AREA_PX)}
        yield container, stream  # type: ignore[misc]  # "video" gives a VideoStream


def _timeline(path: Path, file: BinaryIO) -> _Timeline:
    head = file.read(HEAD_BYTES)
    demuxer = find_demuxer(head)
    assert demuxer is not None  # `images.read` looked
    num_packets, num_broken = 0, 0
    shown: list[tuple[int | None, int | None, bool]] = []
    with _opened(path, file, demuxer) as (container, stream):
        for packet in container.demux(stream):
            if packet.size == 0 and packet.dts is None:
                continue  # PyAV's own end mark
            num_packets += 1
            num_broken += packet.is_corrupt
            if packet.size and not packet.is_discard:
                shown.append((packet.pts, packet.dts, packet.is_keyframe))
        size = (stream.codec_context.height, stream.codec_context.width)
    if not shown:
        raise ImageError(f"{path}: is a clip without a single frame")
    if 0 in size:
        raise ImageError(f"{path}: does not say how large its frames are")
    check_size(path, *size)
    cut = ""
    num_bytes, declared_bytes = file.seek(0, SEEK_END), _declared_bytes(file, head, demuxer)
    if num_bytes < declared_bytes:
        cut = f"{num_bytes:,} of {declared_bytes:,} bytes are there"
    elif num_broken:
        cut = f"{num_broken:,} of {num_packets:,} packets are incomplete"
    starts, index_at = _jumps(shown, demuxer)
    return _Timeline(demuxer, len(shown), starts, index_at, cut)


def _jumps(
    shown: Sequence[tuple[int | None, int | None, bool]], demuxer: str
) -> tuple[dict[int, int], dict[int | None, int]]:
    times = [pts for pts, _, _ in shown if pts is not None]
    safe = demuxer in SEEKABLE or (demuxer == "avi" and all(is_key for _, _, is_key in shown))
    if not safe or len(set(times)) < len(shown):
        return {}, {}
    index_at: dict[int | None, int] = {time: index for index, time in enumerate(sorted(times))}
    starts = {
        index_at[pts]: pts if dts is None else dts for pts, dts, is_key in shown if is_key and pts is not None
    }
    return starts, index_at


def _declared_bytes(file: BinaryIO, head: bytes, demuxer: str) -> int:
    """Where a clip ends by its own account; 0 where it gives none."""
    if demuxer == "mov":
        return _end_of_boxes(file)
    if demuxer == "avi":
        size = int.from_bytes(head[4:8], "little")
        return 0 if size in (0, 2**32 - 1) else size + 8
    place = head.find(MATROSKA_SEGMENT)
    if demuxer != "matroska" or place < 0:
        return 0
    coded = head[place + 4 : place + 12]
    length = 9 - coded[0].bit_length() if coded else 0  # EBML: leading zeros of the first byte count the rest
    unknown = 2 ** (7 * length) - 1
    size = int.from_bytes(coded[:length], "big") & unknown
    return 0 if size == unknown else place + 4 + length + size


def _end_of_boxes(file: BinaryIO) -> int:
    num_bytes, place = file.seek(0, SEEK_END), 0
    while place + 16 <= num_bytes:
        file.seek(place)
        coded = file.read(16)
        size = int.from_bytes(coded[:4], "big")
        if size == 1:
            size = int.from_bytes(coded[8:], "big")
        if size < 8:  # 0: to the end of the file
            return num_bytes
        place += size
    return place


class _AstrayError(Exception):
    """A jump did not lead where the timeline says."""


def _pictures(
    path: Path, file: BinaryIO, timeline: _Timeline, indices: Sequence[int]
) -> Generator["av.VideoFrame", None, None]:
    """Jumps only save time: where one goes astray, what is left is decoded from the beginning."""
    num_given = 0
    try:
        for picture in _found(path, file, timeline, indices):
            num_given += 1
            yield picture
    except _AstrayError:
        yield from _found(path, file, replace(timeline, starts={}), indices[num_given:])


def _found(
    path: Path, file: BinaryIO, timeline: _Timeline, indices: Sequence[int]
) -> Iterator["av.VideoFrame"]:
    with _opened(path, file, timeline.demuxer) as (container, stream):
        decoded = _decoded(path, container, stream, timeline)
        reached = -1
        for index in indices:
            start = timeline.start_for(index)
            if start > reached + 1:
                decoded = _decoded_from(start, container, stream, timeline)
            reached, picture = next((pair for pair in decoded if pair[0] >= index), (reached, None))
            if picture is None or reached != index:
                return
            yield picture


def _decoded(
    path: Path, container: "InputContainer", stream: "VideoStream", timeline: _Timeline
) -> Iterator[tuple[int, "av.VideoFrame"]]:
    """All frames from the first on, counted."""
    packets = (packet for packet in container.demux(stream) if packet.size)
    for number, picture in enumerate(_raw(packets, stream)):
        if picture.is_corrupt:
            raise ImageError(f"{path}: frame {number} of {timeline.num_frames} (from 0) is damaged")
        yield number, picture


def _decoded_from(
    start: int, container: "InputContainer", stream: "VideoStream", timeline: _Timeline
) -> Iterator[tuple[int, "av.VideoFrame"]]:
    """Frames from key frame `start` on, known by their times.

    Frames that are stored after it but shown before it may refer to frames that were jumped over: left out.
    """
    try:
        container.seek(timeline.starts[start], stream=stream)
        stored = (packet for packet in container.demux(stream) if packet.size)
        packets = dropwhile(lambda packet: not packet.is_keyframe, stored)
        first = next(packets)
        if timeline.index_at[first.pts] > start:
            raise _AstrayError
        reached = start - 1
        for picture in _raw(chain([first], packets), stream):
            number = timeline.index_at[picture.pts]
            if number < start:
                continue
            if number <= reached or picture.is_corrupt:
                raise _AstrayError
            reached = number
            yield number, picture
    except Exception as error:  # a damaged frame, too: decoding from the beginning says which
        raise _AstrayError from error


def _raw(packets: Iterable["av.Packet[VideoStream]"], stream: "VideoStream") -> Iterator["av.VideoFrame"]:
    for packet in packets:
        yield from stream.codec_context.decode(packet)
    yield from stream.codec_context.decode(None)  # what was held back for reordering


def _pixels(path: Path, picture: "av.VideoFrame", converter: "VideoReformatter") -> Grey | Colour:
    check_size(path, picture.height, picture.width)  # may change on the way
    grey = picture.format.name.startswith(("gray", "mono"))
    pixels = converter.reformat(picture, format="gray" if grey else "rgb24").to_ndarray()
    return np.ascontiguousarray(np.rot90(pixels, round(picture.rotation / 90)))
