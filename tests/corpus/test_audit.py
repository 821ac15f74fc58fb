"""An audit names every match by content and by look, and says clean where there is none."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from usfmae.base.errors import CorpusError, FolderError
from usfmae.cli.main import main
from usfmae.corpus.audit import audit_corpus
from usfmae.corpus.build import build_corpus
from usfmae.corpus.sources import Source


@pytest.fixture
def labelled(tmp_path, drawn):
    """Four pictures in two classes that are not in `scans`."""
    for k, kind in enumerate(("benign", "benign", "malignant", "malignant")):
        path = tmp_path / "own" / kind / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn(100 + k)).save(path)
    return tmp_path / "own"


def test_a_pool_without_them_is_clean(corpus, labelled, tmp_path):
    record = audit_corpus(corpus, [("folder", labelled)], out=tmp_path / "a")
    assert (record["verdict"], record["matches"]) == ("clean", [])
    assert record["sets"]["own"]["images"] == 4
    page = (tmp_path / "a" / "audit.html").read_text()
    assert "Clean: none of 4 images of own is in the pool" in page
    assert "<img" not in page


def test_every_match_is_named_with_its_kind_and_drawn(scans, labelled, config, drawn, tmp_path):
    shutil.copy(labelled / "benign" / "0.png", scans / "b" / "x.png")
    Image.fromarray((drawn(102)[:, ::-1] * 0.8).astype(np.uint8)).save(scans / "b" / "<y>.png")
    pool = build_corpus([Source("scans", scans)], out=tmp_path / "c", config=config)
    record = audit_corpus(pool, [("folder", labelled)], out=tmp_path / "a")
    assert record["verdict"] == "matches"
    assert [(m["kind"], m["labelled"], m["path"]) for m in record["matches"]] == [
        ("exact", "benign/0.png", "b/x.png"),
        ("near", "malignant/2.png", "b/<y>.png"),
    ]
    counts = record["sets"]["own"]
    assert (counts["labelled_images_found_exact"], counts["labelled_images_found_near"]) == (1, 1)
    assert counts["pool_images_that_match"] == 2
    assert record["made_by"]["inputs"] == {"corpus": pool.sha256}
    assert json.loads((tmp_path / "a" / "audit.json").read_text()) == record
    page = (tmp_path / "a" / "audit.html").read_text()
    assert "2 of 4 images of own are in the pool" in page
    assert page.count("<img") == 4
    assert page.count('badge bad">same pixels') == 1
    assert page.count("likeness 0.9") + page.count("likeness 1.0") == 1
    assert f"usfmae {record['made_by']['usfmae']}" in page
    assert "&lt;y&gt;.png" in page
    assert "<y>" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_the_exit_status_tells_clean_from_found(scans, corpus, labelled, config, tmp_path, capsys):
    words = ["--against", f"folder={labelled}", "--workers", "1"]
    assert main(["corpus", "audit", str(corpus.folder), *words]) == 0
    assert main(["corpus", "audit", str(corpus.folder), *words]) == 0  # its own folder is made anew
    assert (corpus.folder / "audits" / "own" / "audit.html").exists()
    shutil.copy(labelled / "benign" / "1.png", scans / "b" / "x.png")
    build_corpus([Source("scans", scans)], out=tmp_path / "found", config=config)
    capsys.readouterr()
    assert main(["corpus", "audit", str(tmp_path / "found"), *words, "--out", str(tmp_path / "a")]) == 3
    assert "own: 1 of 4 images are in the pool, 0 more look like one there" in capsys.readouterr().out


def test_somebody_elses_folder_and_an_empty_question_are_refused(corpus, labelled, tmp_path):
    with pytest.raises(CorpusError, match="no labelled set was given"):
        audit_corpus(corpus, [], out=tmp_path / "a")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "one.tex").write_text("x")
    with pytest.raises(FolderError, match="exists already"):
        audit_corpus(corpus, [("folder", labelled)], out=tmp_path / "thesis")
