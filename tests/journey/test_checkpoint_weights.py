"""`--weights RUN/checkpoints/step_X`: the encoder of a run that ended early, through the command line."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from variants import draw_clips

from usfmae.cli.evaluate import pretraining_pool
from usfmae.cli.main import main
from usfmae.corpus.shards import open_corpus
from usfmae.datasets.fake import fake_dataset
from usfmae.models.weights import load_encoder, read_weights

SMALL = ["model.encoder.image_px=32", "model.encoder.patch_px=8", "global_batch=8", "epochs=2", "threads=1",
         "loop.log_steps=1", "loop.checkpoint_steps=2", "loop.keep_checkpoints=3", "watch.every_epochs=9",
         "watch.num_pictures=2"]  # fmt: skip
LAST = "checkpoints/step_00000005"


def run(*words) -> int:
    return main([str(word) for word in words])


def pretrain(corpus, out, *words, settings=()) -> int:
    chosen = [word for setting in (*SMALL, *settings) for word in ("--set", setting)]
    return run("pretrain", "tiny_cpu", "--corpus", corpus, "--out", out, *words, *chosen)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A corpus of stretched pictures, and a run on it that keeps an average of its weights."""
    root = tmp_path_factory.mktemp("place")
    (root / "clips").mkdir()
    draw_clips(root / "clips")
    words = ("corpus", "build", "--images", root / "clips", "--out", root / "corpus", "--workers", 1)
    settings = ("size_px=32", "keep_per_cluster=null", "fit=stretch")
    assert run(*words, *(word for setting in settings for word in ("--set", setting))) == 0
    assert pretrain(root / "corpus", root / "run", settings=["ema.decay=0.9"]) == 0
    return root


@pytest.fixture
def early(place, tmp_path) -> Path:
    """The run without what is written at its end, and without an average."""
    out = tmp_path / "early"
    shutil.copytree(place / "run", out, ignore=shutil.ignore_patterns("weights*"))
    record = json.loads((out / "run.json").read_text())
    record["made_by"]["settings"]["ema"]["decay"] = None
    (out / "run.json").write_text(json.dumps(record | {"status": "stopped", "total_steps": 100}))
    return out


def same(one: Path, two: Path) -> bool:
    first, second = load_encoder(one), load_encoder(two)
    pairs = zip(first.encoder.state_dict().values(), second.encoder.state_dict().values(), strict=True)
    return first.input_spec == second.input_spec and all(torch.equal(a, b) for a, b in pairs)


def test_a_checkpoint_gives_the_encoder_of_its_run_and_how_it_sees_pictures(place, early):
    assert same(early / LAST, place / "run")
    assert load_encoder(early / LAST).input_spec.fit == "stretch"
    assert not same(early / "checkpoints/step_00000004", place / "run")
    assert read_weights(early / LAST).sha256 != read_weights(early / "checkpoints/step_00000004").sha256


def test_a_checkpoint_gives_the_weights_as_a_run_does_and_says_that_there_is_an_average(place, caplog):
    caplog.set_level(logging.INFO)
    assert same(place / "run" / LAST, place / "run")
    assert caplog.text.count("step_00000005: these are the weights; their average is saved") == 1
    assert not same(place / "run" / LAST, place / "run/weights_ema.safetensors")
    assert same(place / "run" / LAST / "model.safetensors", place / "run")


@pytest.mark.parametrize("name", ["", "weights.safetensors", "weights_ema.safetensors", LAST])
def test_what_the_run_has_seen_is_looked_up_whichever_of_its_weights_are_named(place, name):
    pool, corpus = pretraining_pool(place / "run" / name, []), open_corpus(place / "corpus")
    assert pool is not None
    assert (pool.sha256, pool.content_hashes) == (corpus.sha256, corpus.content_hashes())


def test_a_run_starts_from_a_checkpoint_with_its_decoder(place, early, tmp_path):
    weights = early / "checkpoints/step_00000004"
    assert pretrain(place / "corpus", tmp_path / "on", "--weights", weights, settings=["epochs=0.1"]) == 0
    record = json.loads((tmp_path / "on/run.json").read_text())
    assert record["weights"]["file"] == str(weights)
    assert record["weights"]["decoder"]["checkpoint"] == str(weights)
    assert (record["weights"]["loaded"]["fresh"], record["weights"]["loaded"]["dropped"]) == ([], {})
    assert record["made_by"]["inputs"]["weights"] == read_weights(weights).sha256
    assert [pool["folder"] for pool in record["pools_seen"]] == [str(place / "corpus")]


def test_a_decoder_of_another_shape_begins_at_random(place, early, tmp_path):
    settings = ["epochs=0.1", "model.decoder.dim=32", "model.decoder.num_heads=2"]
    assert pretrain(place / "corpus", tmp_path / "on", "--weights", early / LAST, settings=settings) == 0
    record = json.loads((tmp_path / "on/run.json").read_text())
    assert record["weights"]["decoder"] == {"why": "that of the run has another decoder.dim"}


def test_an_evaluation_of_a_checkpoint_is_that_of_the_run_and_knows_its_pool(place, early, tmp_path):
    labelled = fake_dataset("folder", tmp_path / "labelled", num_patients=18)
    words = (
        "evaluate",
        "knn",
        "--task",
        "folder",
        "--data",
        labelled,
        "--set",
        "task.size_px=32",
        "--weights",
    )
    results = []
    for name, weights in (("one", place / "run"), ("two", early / LAST)):
        assert run(*words, weights, "--out", tmp_path / name) == 0
        results.append(json.loads((tmp_path / name / "result.json").read_text()))
    assert results[0]["metrics"] == results[1]["metrics"]
    assert results[1]["contamination"]["checked"]
    assert results[0]["contamination"] == results[1]["contamination"]


def refused(capsys, weights: Path, place: Path, tmp_path: Path) -> str:
    capsys.readouterr()
    assert pretrain(place / "corpus", tmp_path / "refused", "--weights", weights) == 2
    assert not (tmp_path / "refused").exists()
    return " ".join(capsys.readouterr().err.split())


def test_a_run_without_weights_names_its_newest_checkpoint(place, early, tmp_path, capsys):
    said = refused(capsys, early, place, tmp_path)
    assert "early: holds no weights.safetensors" in said
    assert f"finish it with --resume, or take its newest checkpoint: {early / LAST}" in said
    assert f"take its newest checkpoint: {early / LAST}" in refused(
        capsys, early / "checkpoints", place, tmp_path
    )


def test_an_empty_folder_is_no_checkpoint(place, early, tmp_path, capsys):
    empty = early / "checkpoints/step_00000006"
    empty.mkdir()
    said = refused(capsys, empty, place, tmp_path)
    assert "step_00000006: is empty, so it is no whole checkpoint" in said
    (empty / "model.safetensors").write_bytes(b"")
    assert "step_00000006: holds no state.json, so it is no whole" in refused(capsys, empty, place, tmp_path)


def test_a_checkpoint_away_from_its_run_says_what_is_missing(place, early, tmp_path, capsys):
    alone = tmp_path / "alone/kept"
    shutil.copytree(early / LAST, alone)
    said = refused(capsys, alone, place, tmp_path)
    assert "kept: is a checkpoint, but the run.json that says which network is in it is not at" in said
    assert "hint: give it inside the folder of its run" in said


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda record: record.pop("input_spec"), "does not say what its encoder wants to see"),
        (lambda record: record["made_by"]["settings"].pop("model"), "is not the record of a pretraining run"),
        (lambda record: record.pop("made_by"), "is not the record of a pretraining run"),
    ],
)
def test_a_run_json_that_does_not_say_enough_is_refused(place, early, tmp_path, capsys, change, why):
    record = json.loads((early / "run.json").read_text())
    change(record)
    (early / "run.json").write_text(json.dumps(record))
    assert f"run.json: {why}" in refused(capsys, early / LAST, place, tmp_path)


def test_a_damaged_or_vanished_file_of_a_checkpoint_is_named(place, early, tmp_path, capsys):
    path = early / LAST / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    assert "model.safetensors: is damaged (checksum differs)" in refused(
        capsys, early / LAST, place, tmp_path
    )
    path.unlink()
    said = refused(capsys, early / LAST, place, tmp_path)
    assert "step_00000005: is no longer whole" in said
    assert "a run that goes on deletes its older checkpoints" in said
    (early / LAST / "state.json").write_text("{}")
    assert "state.json: is damaged (no checksums in it)" in refused(capsys, early / LAST, place, tmp_path)
