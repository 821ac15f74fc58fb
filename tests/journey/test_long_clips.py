"""A clip of any length goes into a pool in bounded memory: 157 MB of frames in seven formats."""

import struct
import subprocess
import sys
from pathlib import Path

import av
import cv2
import h5py
import numpy as np
from dicom_files import fake_dicom

FRAMES, SIDE = 600, 512
FRAME_BYTES = SIDE * SIDE
NOISE = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), dtype=np.uint8), (0, 0), 12)
NOISE = cv2.normalize(NOISE, None, 20, 235, cv2.NORM_MINMAX)  # sharp noise is taken for words

NOISE_EVERY = 20
MOST_GROWTH_MB = 90
"""HDF5 keeps 64 MB of chunks, a part 32 frames and 33 that may be chosen (17 MB); all frames are 157 MB."""

PROGRAM = """
import resource, sys, tempfile
from pathlib import Path
import cv2
from usfmae.corpus.config import BuildConfig
from usfmae.corpus.part import Part, build_part, read_part
from usfmae.corpus.sources import SourceFile

def build(path, looked_at):
    with tempfile.TemporaryDirectory() as out:
        file = SourceFile("long", Path(path), Path(path).name, "long")
        config = BuildConfig(looked_at_per_clip=looked_at)
        build_part(Part(0, (file,)), corpus=Path(out), config=config)
        content = read_part(Path(out), 0)
        assert not content["unreadable"], content["unreadable"]
        return len(content["rows"])

cv2.setNumThreads(1)
warm, *paths = sys.argv[1:]
build(warm, 2)
for path in paths:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    images = build(path, None)
    print(images, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def write_sparse(path: Path, header: bytes) -> Path:
    """`header` and all frames, of which every twentieth is noise and the others are holes of the disk."""
    with path.open("wb") as file:
        file.write(header)
        for index in range(0, FRAMES, NOISE_EVERY):
            file.seek(len(header) + index * FRAME_BYTES)
            file.write(np.roll(NOISE, 5 * index, axis=(0, 1)).tobytes())
        file.truncate(len(header) + FRAMES * FRAME_BYTES)
    return path


def npy(path: Path) -> Path:
    np.lib.format.open_memmap(path, "w+", np.uint8, (FRAMES, SIDE, SIDE))
    return write_sparse(path, path.read_bytes()[: path.stat().st_size - FRAMES * FRAME_BYTES])


def mha(path: Path) -> Path:
    sizes = f"NDims = 3\nDimSize = {SIDE} {SIDE} {FRAMES}\n"
    return write_sparse(
        path, f"ObjectType = Image\n{sizes}ElementType = MET_UCHAR\nElementDataFile = LOCAL\n".encode()
    )


def nrrd(path: Path) -> Path:
    sizes = f"dimension: 3\nsizes: {SIDE} {SIDE} {FRAMES}\n"
    return write_sparse(path, f"NRRD0004\ntype: uint8\n{sizes}encoding: raw\n\n".encode())


def nii(path: Path) -> Path:
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, SIDE, SIDE, FRAMES, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 2, 8)
    struct.pack_into("<f", header, 108, 352)
    header[344:348] = b"n+1\0"
    return write_sparse(path, bytes(header))


def dcm(path: Path) -> Path:
    fake_dicom(path, np.zeros((1, SIDE, SIDE), np.uint8), NumberOfFrames=FRAMES)
    header = bytearray(path.read_bytes()[:-FRAME_BYTES])
    struct.pack_into("<I", header, len(header) - 4, FRAMES * FRAME_BYTES)
    return write_sparse(path, bytes(header))


def h5(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        frames = file.create_dataset("frames", (FRAMES, SIDE, SIDE), np.uint8, chunks=(1, SIDE, SIDE))
        for index in range(FRAMES):
            frames[index] = np.roll(NOISE, 5 * index, axis=(0, 1))
    return path


def mp4(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "40"})
        stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv420p"
        for index in range(FRAMES):
            pixels = np.roll(NOISE, 7 * index, axis=1)
            frame = av.VideoFrame.from_ndarray(pixels, format="gray")
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode())
    return path


def test_long_clips_are_read_in_bounded_memory_though_every_frame_is_looked_at(tmp_path):
    np.save(tmp_path / "warm.npy", NOISE[None, :64, :64])
    kinds = (npy, mha, nii, nrrd, dcm, h5, mp4)
    paths = [draw(tmp_path / f"a.{draw.__name__}") for draw in kinds]
    command = [sys.executable, "-c", PROGRAM, *map(str, (tmp_path / "warm.npy", *paths))]
    try:
        done = subprocess.run(command, capture_output=True, timeout=300, check=True)
    finally:
        for path in paths:
            path.unlink()  # pytest would keep them
    said = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert [images for images, _ in said] == [16] * len(kinds)
    grown = {draw.__name__: growth_mb for draw, (_, growth_mb) in zip(kinds, said, strict=True)}
    assert max(grown.values()) < MOST_GROWTH_MB, grown
