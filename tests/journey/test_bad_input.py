"""Bad files of every kind go through `usfmae corpus build`: counted, named with a reason, never replaced."""

import json
import struct
import zipfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from dicom_files import fake_dicom
from PIL import Image
from pydicom import dcmread
from pydicom.uid import MPEG4HP41, JPEGLSLossless

from usfmae.cli.main import main
from usfmae.corpus.shards import open_corpus
from usfmae.datasets.fake import fake_dataset

NOISE = np.random.default_rng(0)


def picture() -> np.ndarray:
    """Another one each time: none looks like any other."""
    coarse = Image.fromarray(NOISE.integers(0, 256, (6, 6), dtype=np.uint8))
    return np.asarray(coarse.resize((64, 48), Image.Resampling.BICUBIC))


def build(out: Path, *words: object) -> tuple[dict[str, list[dict]], dict[str, str]]:
    """Rows of the pool by file, and why other files were left out as unreadable."""
    allowed = ("--workers", "1", "--set", "max_unreadable_ratio=1", "--set", "keep_per_cluster=null")
    assert main(["corpus", "build", "--out", str(out), *map(str, words), *allowed]) == 0
    rows: dict[str, list[dict]] = {}
    corpus = open_corpus(out)
    for row in corpus.manifest.to_pylist():
        rows.setdefault(row["path"], []).append(row)
    unreadable = corpus.record["left_out"]["unreadable"]
    assert unreadable["count"] == len(unreadable["named"])
    return rows, {entry["path"]: entry["why"] for entry in unreadable["named"]}


def write_clip(path: Path, codec: str, *, times_ms=range(0, 480, 40), **options) -> bytearray:
    """Twelve frames shown at these times; returns the bytes, to be damaged."""
    kind = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=25 if codec == "mjpeg" else 1000)
        stream.width, stream.height, stream.pix_fmt = 64, 48, kind
        if codec != "mjpeg":
            stream.codec_context.time_base = Fraction(1, 1000)
            stream.options = {"x264-params": "bframes=0:log-level=none"}
        for index, time_ms in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(picture(), format="gray").reformat(format=kind)
            frame.time_base = Fraction(1, 25 if codec == "mjpeg" else 1000)
            frame.pts = index if codec == "mjpeg" else time_ms
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return bytearray(path.read_bytes())


def test_clips_with_broken_frames_and_strange_times(tmp_path):
    clips = tmp_path / "clips"
    clips.mkdir()
    write_clip(clips / "varying.mp4", "libx264", times_ms=np.cumsum([5, 7, 200, 1, 33, 1500] * 2).tolist())
    write_clip(clips / "live.mkv", "libx264", live="1")  # neither duration nor index
    none = write_clip(clips / "no-duration.mp4", "libx264")
    for box, place in ((b"mvhd", 20), (b"tkhd", 24), (b"mdhd", 20)):
        struct.pack_into(">I", none, none.find(box) + place, 0)
    (clips / "no-duration.mp4").write_bytes(none)
    zero = write_clip(clips / "0-fps.avi", "mjpeg")
    struct.pack_into("<I", zero, zero.find(b"avih") + 8, 0)
    struct.pack_into("<II", zero, zero.find(b"strh") + 28, 0, 0)
    (clips / "0-fps.avi").write_bytes(zero)
    broken = write_clip(clips / "broken.avi", "mjpeg")
    broken[len(broken) // 2 : len(broken) // 2 + 300] = bytes(300)
    (clips / "broken.avi").write_bytes(broken)
    whole = write_clip(clips / "cut.mp4", "libx264")
    (clips / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (clips / "empty.mp4").write_bytes(b"")
    rows, why = build(tmp_path / "corpus", "--images", clips)
    whole_ones = ("varying.mp4", "live.mkv", "no-duration.mp4", "0-fps.avi")
    assert {name: len(rows[name]) for name in whole_ones} == dict.fromkeys(whole_ones, 12)
    assert 1 <= len(rows["broken.avi"]) < 12
    assert set(rows) == {*whole_ones, "broken.avi"}
    assert set(why) == {"broken.avi", "cut.mp4", "empty.mp4"}
    assert "damaged or cut short" in why["broken.avi"]
    assert "damaged or cut short" in why["cut.mp4"]
    assert why["empty.mp4"] == "is empty (0 bytes)"


def test_dicom_without_pixels_without_decoder_padded_and_coloured_by_palette(tmp_path, monkeypatch):
    from pydicom.pixels.decoders import JPEGLSLosslessDecoder

    monkeypatch.setattr(JPEGLSLosslessDecoder, "_available", {})
    scans = tmp_path / "scans"
    scans.mkdir()
    bare = dcmread(fake_dicom(scans / "bare.dcm", picture()))
    del bare.PixelData
    bare.save_as(scans / "bare.dcm")
    fake_dicom(scans / "no-decoder.dcm", picture(), syntax=JPEGLSLossless, encoded=[b"\xff\xd8\xff\xf7"])
    fake_dicom(scans / "film.dcm", picture(), syntax=MPEG4HP41, encoded=[bytes(100)])
    padded = picture().copy()
    padded[:, :16] = 255
    fake_dicom(scans / "padded.dcm", padded, PixelPaddingValue=255)
    fake_dicom(scans / "odd.dcm", picture()[:47, :63])  # a byte is added to make its length even
    tables = {}
    for colour in ("Red", "Green", "Blue"):
        tables[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 8]
        tables[f"{colour}PaletteColorLookupTableData"] = bytes(range(256))
    fake_dicom(scans / "palette.dcm", picture(), interpretation="PALETTE COLOR", **tables)
    fake_dicom(scans / "no-palette.dcm", picture(), interpretation="PALETTE COLOR")
    fake_dicom(scans / "five-of-one.dcm", picture(), NumberOfFrames=5)
    rows, why = build(tmp_path / "corpus", "--images", scans)
    assert set(rows) == {"padded.dcm", "odd.dcm", "palette.dcm", "five-of-one.dcm"}
    assert len(rows["five-of-one.dcm"]) == 1
    corpus = open_corpus(tmp_path / "corpus")
    assert corpus.read_unpadded(corpus.manifest["path"].to_pylist().index("padded.dcm"))[:, :60].max() <= 1
    assert why["bare.dcm"] == "is DICOM without pixels"
    assert why["no-decoder.dcm"].startswith("needs a decoder that is not installed")
    assert why["film.dcm"].startswith("is encoded in a way that cannot be read here")
    assert "Palette" in why["no-palette.dcm"]
    assert set(why) == {"bare.dcm", "no-decoder.dcm", "film.dcm", "no-palette.dcm", "five-of-one.dcm"}


def test_volumes_with_holes_one_slice_strange_spacing_and_too_many_axes(tmp_path):
    import SimpleITK

    scans = tmp_path / "scans"
    scans.mkdir()

    def write(name: str, numbers: np.ndarray, spacing: tuple[float, ...] | None = None) -> None:
        image = SimpleITK.GetImageFromArray(numbers, isVector=False)
        if spacing:
            image.SetSpacing(spacing)
        SimpleITK.WriteImage(image, str(scans / name))

    holes = np.stack([picture() for _ in range(3)]).astype(np.float32)
    holes[0, :5] = np.nan
    write("holes.nii.gz", holes)
    write("only-holes.nii", np.full((3, 48, 64), np.nan, np.float32))
    write("one-slice.mha", picture()[None])
    write("huge.mha", np.stack([picture(), picture()]), (1e9, 1e9, 1.0))
    negative = struct.pack("<3f", -0.25, -0.5, 1.0)
    write("negative.nii", np.stack([picture(), picture()]), (0.25, 0.5, 1.0))
    content = bytearray((scans / "negative.nii").read_bytes())
    content[80:92] = negative
    (scans / "negative.nii").write_bytes(content)
    write("4d.nii", np.stack([holes, holes]))
    write("cut.nii.gz", np.stack([picture(), picture()]))
    (scans / "cut.nii.gz").write_bytes((scans / "cut.nii.gz").read_bytes()[:1000])
    rows, why = build(tmp_path / "corpus", "--images", scans)
    counts = {"holes.nii.gz": 3, "one-slice.mha": 1, "huge.mha": 2, "negative.nii": 2}
    assert {name: len(found) for name, found in rows.items()} == counts
    pitches = {
        name: (found[0]["spacing_down_mm"], found[0]["spacing_across_mm"]) for name, found in rows.items()
    }
    assert pitches["huge.mha"] == (None, None)
    assert pitches["negative.nii"] == (0.5, 0.25)
    assert why["only-holes.nii"] == "holds no finite number (all NaN or infinite)"
    assert why["4d.nii"] == "is 4-dimensional (64 x 48 x 3 x 2): volumes over time are not read"
    assert "damaged or cut short" in why["cut.nii.gz"]
    assert set(why) == {"only-holes.nii", "4d.nii", "cut.nii.gz"}


def test_empty_and_damaged_members_of_an_archive_are_named_after_unpacking(tmp_path, capsys):
    drawn = fake_dataset("busi", tmp_path / "drawn", num_patients=12)
    images = [path for path in sorted(drawn.rglob("*.png")) if "_mask" not in path.name]
    images[0].write_bytes(b"")
    images[1].write_bytes(images[1].read_bytes()[:200])
    archive = tmp_path / "Dataset_BUSI.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(drawn.rglob("*.png")):
            packed.write(path, path.relative_to(drawn))
    fetch = ["datasets", "fetch", "busi", "--from", str(archive), "--accept-licence", "--root"]
    assert main([*fetch, str(tmp_path / "data")]) == 0
    rows, why = build(tmp_path / "corpus", "--dataset", f"busi={tmp_path / 'data' / 'busi'}")
    assert len(rows) == len(images) - 2
    names = [path.relative_to(drawn / "Dataset_BUSI_with_GT").as_posix() for path in images]
    assert why[names[0]] == "is empty (0 bytes)"
    assert "damaged or cut short" in why[names[1]]
    assert set(why) == set(names[:2])
    capsys.readouterr()
    content = bytearray(archive.read_bytes())
    content[len(content) // 3] ^= 255  # a member whose checksum is wrong: nothing is unpacked at all
    archive.write_bytes(content)
    assert main([*fetch, str(tmp_path / "again")]) == 2
    said = capsys.readouterr().err
    assert "error: " in said
    assert "hint: " in said
    assert not list((tmp_path / "again").rglob("*.png"))


def test_two_sources_of_one_name_are_told_apart(tmp_path):
    for ward in ("a", "b"):
        (tmp_path / ward / "scans").mkdir(parents=True)
        Image.fromarray(picture()).save(tmp_path / ward / "scans" / "1.png")
        (tmp_path / ward / "scans" / "2.png").write_bytes(b"")
    sources = ("--images", tmp_path / "a" / "scans", "--images", tmp_path / "b" / "scans")
    rows, _ = build(tmp_path / "corpus", *sources)
    assert [(row["source"], row["group"]) for row in rows["1.png"]] == [
        ("scans", "scans/1.png"),
        ("scans-2", "scans-2/1.png"),
    ]
    record = json.loads((tmp_path / "corpus" / "corpus.json").read_text())
    named = record["left_out"]["unreadable"]["named"]
    assert [entry["source"] for entry in named] == ["scans", "scans-2"]


def test_a_folders_licence_is_said_by_name_and_slips_are_named(tmp_path, capsys):
    for name in ("liver", "muscle"):
        (tmp_path / name).mkdir()
        Image.fromarray(picture()).save(tmp_path / name / "1.png")
    words = ("--images", tmp_path / "liver", "--images", tmp_path / "muscle")
    said = ("--licence", "liver=CC-BY-4.0", "--licence", "muscle=CC0-1.0", "--anatomy", "liver=abdomen")
    build(tmp_path / "pool", *words, *said)
    assert main(["corpus", "show", str(tmp_path / "pool")]) == 0
    shown = capsys.readouterr().out
    assert "CC-BY-4.0" in shown
    assert "CC0-1.0" in shown

    build_again = ["corpus", "build", "--out", str(tmp_path / "other"), *map(str, words)]
    for slip, message in {
        "livr=CC-BY-4.0": "no --images folder is called livr (liver, muscle)",
        "liver": "--licence liver: is not NAME=VALUE",
        "liver=CC-BY-4": "licence CC-BY-4: is not known",
    }.items():
        assert main([*build_again, "--licence", slip]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
