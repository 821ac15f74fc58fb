"""The page of a corpus."""

import re

from usfmae.corpus.build import build_corpus
from usfmae.corpus.page import write_corpus_page
from usfmae.corpus.sources import Source


def test_the_page_shows_every_source_and_every_reason(scans, config, tmp_path):
    (scans / "<b>broken.png").write_bytes(b"no picture")
    (scans / "again.png").write_bytes((scans / "a" / "00.png").read_bytes())
    more = tmp_path / "more"
    more.mkdir()
    (more / "one.png").write_bytes((scans / "a" / "01.png").read_bytes())
    (more / "two.bmp").write_bytes((scans / "a" / "02.png").read_bytes()[:-30])
    sources = [Source("scans", scans), Source("more", more)]
    config = config.model_copy(update={"max_unreadable_ratio": 1.0})
    corpus = build_corpus(sources, out=tmp_path / "c", config=config)
    write_corpus_page(corpus, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count("<img ") == 8  # of twelve; the second source has none left
    assert "2 same pixels as an earlier image" in page
    assert "2 cannot be read" in page
    assert "&lt;b&gt;broken.png" in page
    assert "<b>broken" not in page
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_the_same_corpus_gives_the_same_page(corpus, tmp_path):
    for name in ("one", "two"):
        write_corpus_page(corpus, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    write_corpus_page(corpus, tmp_path / "other", seed=1)
    assert (tmp_path / "one").read_bytes() != (tmp_path / "other").read_bytes()
