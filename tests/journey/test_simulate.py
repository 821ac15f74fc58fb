"""Simulated frames fill up a pool: drawn by one command, read by the next."""

from pathlib import Path

from usfmae.cli.main import main
from usfmae.corpus.shards import open_corpus


def drawn(out: Path, *words: str) -> int:
    return main(["corpus", "simulate", "--out", str(out), "--patients", "3", "--planes", "2", *words])


def test_simulated_frames_become_a_source_of_a_pool(tmp_path, capsys):
    frames, pool = tmp_path / "phantoms", tmp_path / "pool"
    assert drawn(frames, "--workers", "1") == 0
    assert "6 images of 3 simulated patients" in capsys.readouterr().out
    words = ["corpus", "build", "--images", str(frames), "--licence", "phantoms=CC0-1.0", "--workers", "1"]
    assert main([*words, "--out", str(pool), "--set", "size_px=64", "--set", "keep_per_cluster=null"]) == 0
    (source,) = open_corpus(pool).record["sources"]
    assert (source["name"], source["num_images"], source["licence"]) == ("phantoms", 6, "CC0-1.0")


def test_a_seed_draws_the_same_frames_and_another_seed_others(tmp_path):
    for name, seed in (("a", "5"), ("again", "5"), ("b", "6")):
        assert drawn(tmp_path / name, "--seed", seed, "--workers", "1") == 0
    a, again, b = (
        [path.read_bytes() for path in sorted((tmp_path / name).rglob("*.png"))]
        for name in ("a", "again", "b")
    )
    assert a == again
    assert not set(a) & set(b)


def test_a_second_drawing_is_told_to_overwrite_and_not_to_resume_which_it_cannot(tmp_path, capsys):
    assert drawn(tmp_path / "a", "--workers", "1") == 0
    assert drawn(tmp_path / "a") == 2
    said = capsys.readouterr().err
    assert "exists already" in said
    assert "--overwrite" in said
    assert "--resume" not in said


def test_a_folder_that_holds_something_else_is_not_written_into(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    assert drawn(tmp_path / "mine", "--overwrite") == 2
    assert "error: " in capsys.readouterr().err
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
