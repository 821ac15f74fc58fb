"""What a DICOM file says of a person is nowhere in what the program writes or prints."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from screens import LINEAR, on_screen, sector_of

from usfmae.cli.main import main
from usfmae.corpus.shards import open_corpus

pydicom = pytest.importorskip("pydicom")
from dicom_files import fake_dicom  # noqa: E402
from pydicom.dataset import Dataset  # noqa: E402

PLANTED = ("Zapfenstein", "Q7731904", "Klinik-Xylo", "19530717", "Geheimnotiz", "Overlaywort", "Privatwort")


def planted_dicom(path: Path, seed: int, *, cut: bool = False, pixels: np.ndarray | None = None) -> Path:
    """An ultrasound still with an identity in tags, private tags, a nested sequence and an overlay."""
    if pixels is None:
        pixels, _ = sector_of(LINEAR, seed)
    nested = Dataset()
    nested.ScheduledProcedureStepDescription = "Geheimnotiz Zapfenstein"
    fake_dicom(
        path, pixels, PatientName="Zapfenstein^Erika", PatientID="Q7731904", InstitutionName="Klinik-Xylo",
        PatientBirthDate="19530717", ImageComments="Geheimnotiz", RequestAttributesSequence=[nested],
    )  # fmt: skip
    dataset = pydicom.dcmread(path)
    private = dataset.private_block(0x0009, "Privatwort GmbH", create=True)
    private.add_new(0x01, "LO", "Privatwort Zapfenstein")
    dataset.add_new((0x6000, 0x0010), "US", 8)
    dataset.add_new((0x6000, 0x0011), "US", 16)
    dataset.add_new((0x6000, 0x0022), "LO", "Overlaywort")
    dataset.add_new((0x6000, 0x0100), "US", 1)
    dataset.add_new((0x6000, 0x3000), "OB", b"Overlaywort     ")
    dataset.save_as(path)
    if cut:
        path.write_bytes(path.read_bytes()[:-2000])
    return path


def traces(content: bytes) -> list[str]:
    """The planted words in some bytes, in any of the encodings that files use."""
    return [
        word
        for word in PLANTED
        if any(word.encode(kind).lower() in content.lower() for kind in ("utf-8", "utf-16-le", "utf-16-be"))
    ]


def test_the_search_finds_what_is_planted(tmp_path):
    assert traces(planted_dicom(tmp_path / "a.dcm", 0).read_bytes()) == list(PLANTED)


def test_nobody_is_named_in_a_corpus_its_page_or_what_is_printed(tmp_path, capfd):
    scans = tmp_path / "scans"
    scans.mkdir()
    for k in range(6):
        planted_dicom(scans / f"{k}.dcm", k)
    planted_dicom(scans / "cut.dcm", 7, cut=True)
    corpus, page = tmp_path / "corpus", tmp_path / "page.html"

    def run(*words: object) -> int:
        return main(["--debug", *map(str, words)])

    build = ("corpus", "build", "--images", scans, "--out", corpus, "--workers", "1")
    assert run(*build, "--set", "max_unreadable_ratio=0.5") == 0
    assert run("corpus", "show", corpus, "--html", page, "--montage", tmp_path / "montage.png") == 0
    out, err = capfd.readouterr()
    written = [path for path in tmp_path.rglob("*") if path.is_file() and scans not in path.parents]
    assert len(written) >= 5
    assert "cut.dcm" in (corpus / "corpus.json").read_text()
    assert {str(path): found for path in written if (found := traces(path.read_bytes()))} == {}
    assert traces((out + err).encode()) == []


def signed_screen(seed: int) -> np.ndarray:
    """A scanner's screen, 240 x 320, with a name in its banner and in the echo."""
    screen, _, _ = on_screen(*sector_of(LINEAR, seed))
    cv2.putText(screen, "ZAPFENSTEIN Q7731904", (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 230, 1)
    cv2.putText(screen, "ZAPFENSTEIN", (86, 110 + 6 * seed), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 230, 1)
    return screen


def looks_like_the_name(pixels: np.ndarray) -> float:
    """Correlation of the name with the place that looks most like it."""
    drawn = np.zeros((16, 96), np.uint8)
    cv2.putText(drawn, "ZAPFENSTEIN", (1, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 230, 1)
    return float(cv2.matchTemplate(pixels, drawn, cv2.TM_CCOEFF_NORMED).max())


@pytest.mark.parametrize("kind", ["dicom", "png"])
def test_a_name_burned_into_the_pixels_is_gone_without_any_setting(tmp_path, kind):
    scans = tmp_path / "scans"
    scans.mkdir()
    for k in range(4):
        if kind == "dicom":
            planted_dicom(scans / f"{k}.dcm", k, pixels=signed_screen(k))
        else:
            cv2.imwrite(str(scans / f"{k}.png"), signed_screen(k))
    extra = [] if kind == "dicom" else ["--set", "private=all"]
    words = ["corpus", "build", "--images", str(scans), "--out", str(tmp_path / "c"), "--workers", "1"]
    assert main([*words, "--set", "size_px=320", "--set", "keep_per_cluster=null", *extra]) == 0
    corpus = open_corpus(tmp_path / "c")
    assert len(corpus) == 4
    for k, image in enumerate(corpus.read(np.arange(4))):
        shown = image[40:280]  # 240 rows in the middle of a square of 320
        assert looks_like_the_name(signed_screen(k)) > 0.9
        assert looks_like_the_name(shown) < 0.6
        assert shown[100:180, 90:200].mean() > 30  # the echo is still there
