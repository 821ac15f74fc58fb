"""DICOM of every common encoding, drawn here with pydicom: the colours are right and nobody is named."""

import io

import numpy as np
import pytest
from dicom_files import fake_dicom
from PIL import Image

from usfmae.base.errors import ImageError, MissingExtraError
from usfmae.images.read import read_frame, read_frames

pydicom = pytest.importorskip("pydicom")
from pydicom.dataset import Dataset  # noqa: E402
from pydicom.uid import (  # noqa: E402
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
)

RAMP = np.arange(20 * 30, dtype=np.uint8).reshape(20, 30)
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
STRIPES = np.repeat(np.array([[RED, GREEN, BLUE]], np.uint8), 10, axis=1).repeat(24, axis=0)


def test_grey_and_its_inverse(tmp_path):
    assert np.array_equal(read_frame(fake_dicom(tmp_path / "a.dcm", RAMP)).pixels, RAMP)
    inverse = fake_dicom(tmp_path / "b.dcm", RAMP, interpretation="MONOCHROME1")
    assert np.array_equal(read_frame(inverse).pixels, 255 - RAMP)


def test_a_file_without_suffix_is_known_by_its_magic(tmp_path):
    assert np.array_equal(read_frame(fake_dicom(tmp_path / "IM_0001", RAMP)).pixels, RAMP)


def test_rgb_is_kept_in_both_planar_orders(tmp_path):
    assert np.array_equal(
        read_frame(fake_dicom(tmp_path / "a.dcm", STRIPES, interpretation="RGB")).pixels, STRIPES
    )
    path = fake_dicom(tmp_path / "b.dcm", STRIPES, interpretation="RGB")
    dataset = pydicom.dcmread(path)
    dataset.PlanarConfiguration = 1
    dataset.PixelData = STRIPES.transpose(2, 0, 1).tobytes()
    dataset.save_as(path)
    assert np.array_equal(read_frame(path).pixels, STRIPES)


def test_ybr_is_converted_exactly_once(tmp_path):
    # ITU-R BT.601: pure red is (76, 85, 255), green (150, 44, 21), blue (29, 255, 107)
    ybr = np.repeat(np.array([[(76, 85, 255), (150, 44, 21), (29, 255, 107)]], np.uint8), 10, axis=1)
    path = fake_dicom(tmp_path / "a.dcm", ybr.repeat(24, axis=0), interpretation="YBR_FULL")
    assert np.abs(read_frame(path).pixels.astype(int) - STRIPES).max() <= 2


@pytest.mark.parametrize(
    ("syntax", "kind", "interpretation"),
    [(JPEGBaseline8Bit, "JPEG", "YBR_FULL_422"), (JPEG2000Lossless, "JPEG2000", "YBR_RCT")],
)
def test_compressed_colour_keeps_its_colours(tmp_path, syntax, kind, interpretation):
    buffer = io.BytesIO()
    how = {"quality": 95} if kind == "JPEG" else {"no_jp2": True, "mct": 1}
    Image.fromarray(STRIPES).save(buffer, format=kind, **how)
    path = fake_dicom(
        tmp_path / "a.dcm", STRIPES, interpretation=interpretation, syntax=syntax, encoded=[buffer.getvalue()]
    )
    middles = read_frame(path).pixels[12, [5, 15, 25]].astype(int)
    assert np.abs(middles - np.array([RED, GREEN, BLUE])).max() <= 6


def test_run_length_encoding(tmp_path):
    path = fake_dicom(tmp_path / "a.dcm", RAMP)
    dataset = pydicom.dcmread(path)
    dataset.compress(pydicom.uid.RLELossless, encoding_plugin="pydicom")
    dataset.save_as(path)
    assert np.array_equal(read_frame(path).pixels, RAMP)


@pytest.mark.parametrize("table_bits", [8, 16])
def test_palettes_are_looked_up(tmp_path, table_bits):
    scale = 1 if table_bits == 8 else 256
    kind = np.uint8 if table_bits == 8 else np.uint16
    tags = {}
    for name, levels in {"Red": [0, 200], "Green": [0, 100], "Blue": [0, 50]}.items():
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [2, 0, table_bits]
        tags[f"{name}PaletteColorLookupTableData"] = (np.array(levels) * scale).astype(kind).tobytes()
    indices = np.zeros((16, 16), np.uint8)
    indices[4:] = 1
    pixels = read_frame(
        fake_dicom(tmp_path / "a.dcm", indices, interpretation="PALETTE COLOR", **tags)
    ).pixels
    assert pixels[0, 0].tolist() == [0, 0, 0]
    assert pixels[8, 8].tolist() == [200, 100, 50]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_16_bits_use_the_depth_that_the_file_states(tmp_path, syntax):
    deep = np.full((16, 16), 2048, np.uint16)
    path = fake_dicom(tmp_path / "a.dcm", deep, syntax=syntax, BitsStored=12, HighBit=11)
    assert read_frame(path).pixels[0, 0] == 128  # 2048 * 255 / 4095 = 127.53


def test_a_window_is_applied_after_the_rescale(tmp_path):
    # 100 * 2 - 50 = 150; window 150 +/- 50 in DICOM's linear rule: (150 - 149.5) / 99 + 0.5 = 0.505 -> 129
    deep = np.full((16, 16), 100, np.uint16)
    deep[0], deep[1] = 0, 200
    window = {"WindowCenter": 150, "WindowWidth": 100, "RescaleSlope": 2, "RescaleIntercept": -50}
    pixels = read_frame(fake_dicom(tmp_path / "a.dcm", deep, **window)).pixels
    assert pixels[:3, 0].tolist() == [0, 255, 129]


def test_a_rescale_alone_changes_nothing(tmp_path):
    path = fake_dicom(tmp_path / "a.dcm", RAMP[:, :16], RescaleSlope=2, RescaleIntercept=7)
    assert np.array_equal(read_frame(path).pixels, RAMP[:, :16])


def test_signed_values_use_the_full_range(tmp_path):
    signed = np.full((16, 16), -32768, np.int16)
    signed[0], signed[1] = 0, 32767
    path = fake_dicom(tmp_path / "a.dcm", signed, PixelRepresentation=1)
    assert read_frame(path).pixels[:3, 0].tolist() == [128, 255, 0]


def test_a_clip_gives_its_frames_one_by_one(tmp_path):
    clip = np.arange(7, dtype=np.uint8)[:, None, None] * np.ones((7, 16, 16), np.uint8)
    path = fake_dicom(tmp_path / "a.dcm", clip)
    assert [int(frame.pixels[0, 0]) for frame in read_frames(path)] == list(range(7))
    assert [frame.source.frame_index for frame in read_frames(path, max_frames=3)] == [1, 3, 5]
    assert read_frame(path).source.num_frames == 7


def region(delta_cm: float, kind: tuple[int, int] = (1, 1)) -> Dataset:
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType = kind
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
    item.PhysicalDeltaX, item.PhysicalDeltaY = delta_cm, -2 * delta_cm
    return item


def test_the_pitch_comes_from_the_tissue_region_in_millimetres(tmp_path):
    regions = [region(0.9, kind=(4, 10)), region(0.01)]
    path = fake_dicom(tmp_path / "a.dcm", RAMP, SequenceOfUltrasoundRegions=regions)
    assert read_frame(path).spacing_mm == (0.2, 0.1)
    two = fake_dicom(tmp_path / "b.dcm", RAMP, SequenceOfUltrasoundRegions=[region(0.01), region(0.02)])
    assert read_frame(two).spacing_mm is None
    assert read_frame(fake_dicom(tmp_path / "c.dcm", RAMP, PixelSpacing=[0.3, 0.4])).spacing_mm == (0.3, 0.4)
    assert read_frame(fake_dicom(tmp_path / "d.dcm", RAMP)).spacing_mm is None


def test_nobody_is_named_in_what_is_read(tmp_path):
    assert "Muster" not in repr(read_frame(fake_dicom(tmp_path / "a.dcm", RAMP)))


@pytest.mark.parametrize("kept_ratio", [0.4, 0.7, 0.95])
def test_a_truncated_file_is_an_error(tmp_path, kept_ratio):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    whole = fake_dicom(tmp_path / "a.dcm", noise).read_bytes()
    (tmp_path / "b.dcm").write_bytes(whole[: int(len(whole) * kept_ratio)])
    with pytest.raises(ImageError, match=r"b\.dcm: DICOM that is damaged or cut short"):
        read_frame(tmp_path / "b.dcm")


def test_a_truncated_compressed_file_is_an_error(tmp_path):
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(buffer, format="JPEG", quality=95)
    path = fake_dicom(
        tmp_path / "a.dcm",
        noise,
        interpretation="YBR_FULL_422",
        syntax=JPEGBaseline8Bit,
        encoded=[buffer.getvalue()],
    )
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(ImageError, match=r"a\.dcm"):
        read_frame(path)


def test_a_report_holds_no_image(tmp_path):
    path = fake_dicom(tmp_path / "a.dcm", RAMP)
    dataset = pydicom.dcmread(path)
    del dataset.Rows, dataset.PixelData
    dataset.save_as(path)
    with pytest.raises(ImageError, match="holds no image"):
        read_frame(path)


def test_a_header_that_claims_a_huge_frame_is_refused(tmp_path):
    with pytest.raises(ImageError, match="too large"):
        read_frame(fake_dicom(tmp_path / "a.dcm", RAMP, Rows=20_000))


def test_pixels_are_read_from_a_deflated_file(tmp_path):
    clip = np.stack([RAMP, RAMP[::-1]])
    path = fake_dicom(tmp_path / "a.dcm", clip, syntax=DeflatedExplicitVRLittleEndian)
    assert np.array_equal([frame.pixels for frame in read_frames(path)], clip)
    assert np.array_equal(read_frame(path, 1).pixels, RAMP[::-1])


def test_padding_is_black_whatever_the_window_makes_of_it(tmp_path):
    pixels = RAMP.copy()
    pixels[:, :4], pixels[:, 4:6] = 255, 254
    white = fake_dicom(tmp_path / "a.dcm", pixels, PixelPaddingValue=255)
    assert set(read_frame(white).pixels[:, :4].ravel()) == {0}
    assert set(read_frame(white).pixels[:, 4:6].ravel()) == {254}
    both = fake_dicom(tmp_path / "b.dcm", pixels, PixelPaddingValue=255, PixelPaddingRangeLimit=254)
    assert set(read_frame(both).pixels[:, :6].ravel()) == {0}
    inverse = fake_dicom(tmp_path / "c.dcm", 255 - pixels, interpretation="MONOCHROME1", PixelPaddingValue=0)
    assert np.array_equal(read_frame(inverse).pixels, read_frame(white).pixels)


def test_a_file_without_pixels_says_so(tmp_path):
    path = fake_dicom(tmp_path / "a.dcm", RAMP)
    dataset = pydicom.dcmread(path)
    del dataset.PixelData
    dataset.save_as(path)
    with pytest.raises(ImageError, match=r"a\.dcm: is DICOM without pixels$"):
        read_frame(path)


def test_a_missing_decoder_is_named(tmp_path, monkeypatch):
    from pydicom.pixels.decoders import JPEGLSLosslessDecoder

    path = fake_dicom(tmp_path / "a.dcm", RAMP, syntax=JPEGLSLossless, encoded=[b"\xff\xd8\xff\xf7"])
    monkeypatch.setattr(JPEGLSLosslessDecoder, "_available", {})
    monkeypatch.setattr(JPEGLSLosslessDecoder, "_unavailable", {"gdcm": ("gdcm>=3.0.10",)})
    with pytest.raises(ImageError, match=r"a decoder that is not installed .*JPEG-LS.*gdcm") as caught:
        read_frame(path)
    assert caught.value.hint == 'pip install "usfmae[dicom]"'


def test_more_frames_than_bytes_are_not_believed(tmp_path):
    path = fake_dicom(tmp_path / "a.dcm", RAMP, NumberOfFrames=2**31 - 1)
    with pytest.raises(ImageError, match=r"2,147,483,647 frames, more than it has bytes"):
        next(read_frames(path))


def test_without_pydicom_the_extra_is_named(tmp_path, monkeypatch):
    path = fake_dicom(tmp_path / "a.dcm", RAMP)
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(MissingExtraError, match="needs pydicom") as caught:
        read_frame(path)
    assert caught.value.hint == 'pip install "usfmae[dicom]"'


def placed_region(top, left, bottom, right, *, spatial_format=1, data_type=1):
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType = spatial_format, data_type
    item.RegionLocationMinY0, item.RegionLocationMinX0 = top, left
    item.RegionLocationMaxY1, item.RegionLocationMaxX1 = bottom, right
    return item


def test_regions_reach_the_frame_with_their_codes(tmp_path):
    # The last row and column belong to a region: 2..17 is 16 rows.
    regions = [placed_region(2, 3, 17, 24), placed_region(0, 0, 1, 9, spatial_format=4, data_type=10)]
    path = fake_dicom(tmp_path / "a.dcm", RAMP, SequenceOfUltrasoundRegions=regions)
    tissue, ecg = read_frame(path).regions
    assert (tissue.box, tissue.is_tissue_2d) == ((2, 3, 16, 22), True)
    assert (ecg.box, ecg.spatial_format, ecg.data_type, ecg.is_tissue_2d) == ((0, 0, 2, 10), 4, 10, False)


def test_a_region_that_names_the_row_after_the_last_is_cut(tmp_path):
    path = fake_dicom(tmp_path / "a.dcm", RAMP, SequenceOfUltrasoundRegions=[placed_region(0, 0, 20, 30)])
    assert read_frame(path).regions[0].box == (0, 0, 20, 30)


def test_regions_of_another_size_of_picture_are_not_believed(tmp_path):
    regions = [placed_region(1, 1, 5, 5), placed_region(2, 3, 40, 24)]
    path = fake_dicom(tmp_path / "a.dcm", RAMP, SequenceOfUltrasoundRegions=regions)
    assert read_frame(path).regions == ()


def test_incomplete_regions_are_left_out(tmp_path):
    broken = placed_region(2, 3, 17, 24)
    del broken.RegionLocationMaxX1
    path = fake_dicom(
        tmp_path / "a.dcm", RAMP, SequenceOfUltrasoundRegions=[broken, placed_region(9, 9, 2, 2)]
    )
    assert read_frame(path).regions == ()
    assert read_frame(fake_dicom(tmp_path / "b.dcm", RAMP)).regions == ()
