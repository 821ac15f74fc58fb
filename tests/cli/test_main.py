import json
import runpy
import sys

import numpy as np
import pytest
from PIL import Image
from small_networks import small_networks as small

from usfmae.cli.main import main
from usfmae.datasets.fake import fake_dataset

TINY = [
    "--set",
    "epochs=2",
    "--set",
    "model.encoder.image_px=32",
    "--set",
    "threads=1",
    "--set",
    "global_batch=16",
]


@pytest.fixture
def scans(tmp_path):
    root = tmp_path / "scans"
    root.mkdir()
    noise = np.random.default_rng(0)
    for k in range(24):
        Image.fromarray(noise.integers(0, 256, (40, 48), dtype=np.uint8)).save(root / f"{k:02d}.png")
    return root


def run(*words) -> int:
    return main([str(word) for word in words])


@pytest.fixture
def small_networks():
    with small():
        yield


def test_files_become_a_corpus_a_run_and_a_result(scans, tmp_path, capsys):
    labelled = fake_dataset("folder", tmp_path / "labelled", num_patients=18)
    corpus, out, result = tmp_path / "corpus", tmp_path / "run", tmp_path / "knn"
    assert run("corpus", "build", "--images", scans, "--out", corpus, "--workers", 1) == 0
    assert run("corpus", "verify", corpus) == 0
    assert run("corpus", "show", corpus, "--montage", tmp_path / "m.png") == 0
    assert (tmp_path / "m.png").stat().st_size > 100
    assert (
        run("pretrain", "tiny_cpu", "--corpus", corpus, "--out", out, "--watch", f"folder={labelled}", *TINY)
        == 0
    )
    assert "kNN" in (out / "report.html").read_text()
    words = ("evaluate", "knn", "--task", "folder", "--data", labelled, "--weights", out, "--out", result)
    assert run(*words) == 0
    record = json.loads((result / "result.json").read_text())
    assert record["contamination"]["checked"]
    assert record["contamination"]["test_images_in_pool"] == 0
    assert 0 <= record["metrics"]["auroc"]["low"] <= record["metrics"]["auroc"]["high"] <= 1
    small = (*words[:-1], tmp_path / "small", "--set", "task.size_px=64")
    assert run(*small) == 0  # the test images are compared at the size of the corpus
    assert json.loads((tmp_path / "small" / "result.json").read_text())["contamination"]["checked"]
    assert run(*words) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.usefixtures("small_networks")
def test_an_encoder_is_shown_pictures_as_it_has_learnt_to_see_them(scans, tmp_path, capsys):
    labelled = fake_dataset("folder", tmp_path / "labelled", num_patients=18)
    corpus, out = tmp_path / "corpus", tmp_path / "run"
    words = ("corpus", "build", "--images", scans, "--out", corpus, "--workers", 1)
    assert run(*words, "--set", "fit=stretch") == 0
    assert run("pretrain", "tiny_cpu", "--corpus", corpus, "--out", out, *TINY) == 0
    words = ("evaluate", "knn", "--task", "folder", "--data", labelled, "--weights", out, "--out")
    assert run(*words, tmp_path / "same") == 0
    same = json.loads((tmp_path / "same" / "result.json").read_text())
    assert same["made_by"]["settings"]["task"]["fit"] == "stretch"
    assert same["contamination"]["checked"]
    capsys.readouterr()
    assert run(*words, tmp_path / "other", "--set", "task.fit=pad") == 0
    said = capsys.readouterr().err
    assert "with fit=stretch and crop=none, the task shows fit=pad and crop=none" in said
    assert json.loads((tmp_path / "other" / "result.json").read_text())["contamination"]["checked"]


def test_a_labelled_set_is_held_out_by_content(scans, tmp_path):
    labelled = fake_dataset("folder", tmp_path / "labelled", num_patients=18)
    copy = next(path for path in sorted(labelled.rglob("*.png")) if "mask" not in str(path))
    (scans / "renamed.png").write_bytes(copy.read_bytes())
    words = ("corpus", "build", "--images", scans, "--workers", 1, "--out", tmp_path / "corpus")
    assert run(*words, "--hold-out", f"folder={labelled}") == 0
    record = json.loads((tmp_path / "corpus" / "corpus.json").read_text())
    assert record["num_images"] == 24
    assert record["held_out"][labelled.name]["found_in_pool"] == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nonsense",), "No such command 'nonsense'"),
        (("pretrain", "tiny_cpu", "--out", "x"), "Missing option '--corpus'"),
        (("pretrain", "tiny_cpo", "--corpus", ".", "--out", "x"), "did you mean tiny_cpu?"),
        (("pretrain", "tiny_cpu", "--corpus", ".", "--out", "x", "--set", "epoch=1"), "did you mean epochs?"),
        (("pretrain", "tiny_cpu", "--corpus", "/nowhere", "--out", "x"), "/nowhere: no such folder"),
        (("corpus", "build", "--out", "x"), "no source was given"),
        (("corpus", "build", "--out", "x", "--dataset", "bus-bra"), "is not NAME=DIR"),
        (("corpus", "build", "--out", "x", "--set", "crop=sektor"), "hint: did you mean sector?"),
        (("corpus", "build", "--out", "x", "--set", "clean.mode=our"), "hint: did you mean ours?"),
        (("corpus", "build", "--out", "x", "--engine", "rey"), "error: --engine rey: is not one of"),
        (("corpus", "build", "--out", "x", "--engine", "rey"), "hint: did you mean ray?"),
        (("datasets", "list", "--licence", "comercial"), "hint: did you mean commercial?"),
        (("corpus", "verify", "/nowhere"), "is no corpus"),
        (("recipes", "vit_b16"), "did you mean vit_b16_1gpu?"),
    ],
)
def test_a_mistake_gets_a_message_a_hint_and_status_2(words, said, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert run(*words) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []


def test_the_package_run_as_a_module_is_the_command(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["usfmae", "recipes"])  # as torchrun -m usfmae does
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("usfmae", run_name="__main__")
    assert ended.value.code == 0
    assert "tiny_cpu" in capsys.readouterr().out


def test_a_recipe_shows_its_settings(capsys):
    assert run("recipes") == 0
    assert "usfmae_paper" in capsys.readouterr().out
    assert run("recipes", "tiny_cpu") == 0
    assert '"global_batch": 64' in capsys.readouterr().out


def test_fakes_can_be_drawn_and_checked(tmp_path, capsys):
    assert run("datasets", "fake", "bus-bra", "--root", tmp_path / "b") == 0
    assert run("datasets", "check", "bus-bra", "--root", tmp_path / "b") == 0
    assert "benign" in capsys.readouterr().out
    assert run("datasets", "show", "busi") == 0
    assert run("datasets", "list") == 0
    assert "mmotu-2d" in capsys.readouterr().out
