"""Simulated frames fill up a pool: drawn by one command, read by the next."""

import os
import signal
import subprocess
import sys
import time
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


def test_ctrl_c_stops_all_processes_soon_and_the_folder_can_be_drawn_anew(tmp_path):
    program = "from usfmae.cli.main import main; raise SystemExit(main())"
    words = ["corpus", "simulate", "--out", str(tmp_path / "a"), "--patients", "500", "--workers", "2"]
    run = subprocess.Popen(
        [sys.executable, "-c", program, *words], stderr=subprocess.PIPE, start_new_session=True, text=True
    )
    until = time.monotonic() + 60
    while not list(tmp_path.glob("a/images/*.png")):
        assert run.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to the workers, too
    try:
        said = run.communicate(timeout=60)[1]
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
    assert run.returncode == 130
    assert "stopped" in said
    assert "Traceback" not in said
    num_drawn = len(list(tmp_path.glob("a/images/*.png")))
    assert 0 < num_drawn < 2000
    assert drawn(tmp_path / "a", "--workers", "1", "--overwrite") == 0
    assert len(list(tmp_path.glob("a/images/*.png"))) == 6


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
