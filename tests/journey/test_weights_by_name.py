"""A pool becomes a run, the run a named file with its card, and the name works wherever weights are named."""

import json
import shutil
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from small_networks import SMALL
from variants import draw_clips

from usfmae.base.files import file_sha256
from usfmae.cli.main import main
from usfmae.datasets.fake import fake_dataset

SHORT = ["model.encoder.image_px=32", "model.encoder.patch_px=8", "global_batch=8", "epochs=1", "threads=1",
         "watch.every_epochs=9", "watch.num_pictures=2"]  # fmt: skip
README = "import usfmae; print(usfmae.load('usfmae_s16'))"
QUICK = ["--set", "threads=1", "--set", "bootstrap.num_resamples=100"]


def run(*words) -> int:
    return main([str(word) for word in words])


def small(settings=SHORT):
    return [word for setting in settings for word in ("--set", setting)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A corpus of BUSI's fake and some clips, a run on it, and its shelf."""
    root = tmp_path_factory.mktemp("made")
    busi = fake_dataset("busi", root / "busi", num_patients=12)
    (root / "clips").mkdir()
    draw_clips(root / "clips")
    words = ("--dataset", f"busi={busi}", "--images", root / "clips", "--workers", 1)
    assert run("corpus", "build", *words, "--out", root / "pool") == 0
    assert run("pretrain", "tiny_cpu", "--corpus", root / "pool", "--out", root / "run", *small()) == 0
    assert run("card", root / "run", "--name", "usfmae_s16", "--out", root / "shelf") == 0
    return root


@pytest.fixture
def shelf(made, monkeypatch):
    monkeypatch.setenv("USFMAE_PRETRAINED", str(made / "shelf"))
    return made / "shelf"


def test_the_card_tells_data_licences_and_hash(made):
    card = json.loads((made / "shelf" / "usfmae_s16.json").read_text())
    assert card["trained_on"] == ["busi", "clips"]
    assert card["file"]["sha256"] == file_sha256(made / "shelf" / "usfmae_s16.safetensors")
    assert card["start"]["ultrasound_only"] is True
    corpus = json.loads((made / "pool" / "corpus.json").read_text())
    assert card["data"]["num_images"] == corpus["num_images"]
    assert card["data"]["pools"][0]["sha256"] == corpus["sha256"]
    assert "ultrasound only, from a random start" in (made / "shelf" / "usfmae_s16.html").read_text()


def test_knn_without_weights_takes_what_ships_and_says_what_its_card_knows(made, shelf, tmp_path, caplog):
    for task, trained_on in (("busi", True), ("bus-bra", False)):
        # The fakes of one seed share pictures, which the hashes would find.
        data = (
            made / "busi" if task == "busi" else fake_dataset(task, tmp_path / task, num_patients=20, seed=1)
        )
        out = tmp_path / f"of-{task}"
        assert run("evaluate", "knn", "--task", task, "--data", data, "--out", out, *QUICK) == 0
        result = json.loads((out / "result.json").read_text())
        card = json.loads((shelf / "usfmae_s16.json").read_text())
        assert result["weights_sha256"] == card["file"]["sha256"]
        assert result["init"] == "pretrained"
        assert result["licence"] == card["licence"]["words"]
        found = result["contamination"]  # by the hashes that travel with the card
        assert (found["checked"], found["near_duplicates_in_pool"]) == (True, None)
        assert (found["test_images_in_pool"] > 0) is trained_on
        assert (found["card"]["task_trained_on"], found["card"]["task_held_out"]) == (trained_on, False)
        page = (out / "report.html").read_text()
        assert ("was trained on images of busi, says its card" in page) is trained_on
        assert ("does not name bus-bra" in page) is not trained_on


def test_a_corpus_at_hand_is_compared_with_besides(made, shelf, tmp_path, capsys):
    words = ("--task", "busi", "--data", made / "busi", "--out", tmp_path / "a", "--corpus", made / "pool")
    assert run("evaluate", "knn", *words, *QUICK) == 0
    found = json.loads((tmp_path / "a" / "result.json").read_text())["contamination"]
    assert found["checked"]
    assert found["test_images_in_pool"] > 0
    assert found["near_duplicates_in_pool"] is not None
    assert found["card"]["trained_on"] == ["busi", "clips"]
    assert "was trained on images of busi, says its card: numbers there" in capsys.readouterr().err


def test_the_name_works_for_other_ways_plans_and_going_on_with_pretraining(made, shelf, tmp_path, capsys):
    data = fake_dataset("bus-bra", tmp_path / "bus-bra", num_patients=20, seed=1)
    probe = ("--task", "bus-bra", "--data", data, "--weights", "usfmae_s16", "--out", tmp_path / "probe")
    assert run("evaluate", "linear-probe", *probe, *QUICK) == 0
    like = ("--weights", "scratch", "--like", "usfmae_s16", "--out", tmp_path / "scratch")
    assert run("evaluate", "knn", "--task", "bus-bra", "--data", data, *like, *QUICK) == 0
    encoder = json.loads((tmp_path / "scratch" / "result.json").read_text())
    assert encoder["init"] == "scratch"
    (tmp_path / "plan.yaml").write_text(
        "tasks: [{name: bus-bra}]\n"
        "encoders: [{name: ours, weights: usfmae_s16}, {name: random, like: usfmae_s16}]\n"
        "ways: [{method: knn}]\nseeds: [0]\nbootstrap: {num_resamples: 100}\nsettings: [threads=1]\n"
    )
    plan = ("evaluate", "compare", tmp_path / "plan.yaml", "--data", tmp_path, "--out", tmp_path / "plan")
    assert run(*plan) == 0  # the card does not name bus-bra, and the hashes beside it have none of its images
    page = (tmp_path / "plan" / "report.html").read_text()
    assert json.loads((shelf / "usfmae_s16.json").read_text())["licence"]["words"][:20] in page
    assert "by the hashes of its card; near-duplicates were not looked for" in page
    again = ("pretrain", "tiny_cpu", "--corpus", made / "pool", "--weights", "usfmae_s16")
    assert run(*again, "--out", tmp_path / "again", *small()) == 0
    record = json.loads((tmp_path / "again" / "run.json").read_text())
    assert record["made_by"]["inputs"]["weights"] == file_sha256(shelf / "usfmae_s16.safetensors")
    assert [pool["sha256"] for pool in record["pools_seen"]] == [record["corpus"]["sha256"]]


def test_pools_of_a_card_stay_known_when_a_run_goes_on_with_another(made, shelf, tmp_path):
    words = ("--images", made / "clips", "--out", tmp_path / "pool", "--workers", 1)
    assert run("corpus", "build", *words) == 0
    words = ("pretrain", "tiny_cpu", "--corpus", tmp_path / "pool", "--weights", "usfmae_s16")
    assert run(*words, "--out", tmp_path / "run", *small()) == 0
    seen = json.loads((tmp_path / "run" / "run.json").read_text())["pools_seen"]
    card = json.loads((shelf / "usfmae_s16.json").read_text())
    assert seen[1] == {"folder": "pool", "sha256": card["data"]["pools"][0]["sha256"]}


def test_embed_writes_a_table_and_names_what_it_could_not_read(made, shelf, tmp_path, capsys):
    scans = tmp_path / "scans"
    shutil.copytree(made / "busi", scans)
    broken = next(path for path in sorted(scans.rglob("*.png")) if "mask" not in path.name)
    broken.write_text("no picture")
    out = tmp_path / "features.parquet"
    capsys.readouterr()
    assert run("embed", scans, made / "clips", "--every", 5, "--out", out, "--batch", 8) == 0
    said = capsys.readouterr()
    assert f"not read: {broken}" in said.err
    assert "1 file could not be read" in said.out
    table = pq.read_table(out)
    assert str(broken) not in table["path"].to_pylist()
    about = json.loads(table.schema.metadata[b"usfmae"])
    assert about["weights_sha256"] == file_sha256(shelf / "usfmae_s16.safetensors")
    assert run("embed", scans, "--out", out) == 2
    assert "exists already" in capsys.readouterr().err


def test_the_line_of_the_readme_works_in_a_process_of_its_own(shelf):
    asked = f"from usfmae.models.vit import SIZES; SIZES['ti'] = {SMALL}; {README}"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usfmae_s16\n  network    ViT-Ti/8, 0.1 M parameters, embeddings of 48\n")
    assert file_sha256(shelf / "usfmae_s16.safetensors") in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("embed", "--out", "f.parquet"), "error: no weights are named, and this build ships none"),
        (("evaluate", "knn", "--task", "folder", "--data", ".", "--out", "x"), "this build ships none"),
        (("evaluate", "knn", "--task", "folder", "--data", ".", "--out", "x"), "hint: give a file, a run"),
        (("embed", "--weights", "usfmae_s16", "--out", "f.parquet"), "hint: this build ships no weights"),
        (("card", "/nowhere", "--name", "a", "--out", "x"), "/nowhere: no such folder"),
        (("card", ".", "--name", "A", "--out", "x"), "--name A: cannot name weights"),
        (("card", ".", "--name", "a", "--out", "x"), "holds no run.json"),
    ],
)
def test_mistakes_where_nothing_ships_get_a_message_and_a_hint(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("USFMAE_PRETRAINED", str(tmp_path / "empty"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert run(*words) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""
    assert list((tmp_path / "work").iterdir()) == []


def test_help_names_the_new_commands(capsys):
    assert run("--help") == 0
    said = capsys.readouterr().out
    assert "embed" in said
    assert "card" in said
