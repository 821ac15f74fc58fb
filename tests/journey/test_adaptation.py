"""An encoder of one clinic's scanner goes on with the images of another's, through the command line."""

import json

import pytest

from usfmae.cli.main import main
from usfmae.corpus.shards import open_corpus
from usfmae.datasets.fake import fake_dataset
from usfmae.images.simulate.dataset import write_simulated_dataset
from usfmae.images.simulate.device import DEVICES

SMALL = ["model.encoder.image_px=32", "model.encoder.patch_px=8", "global_batch=8", "threads=1",
         "model.normalised_pixels=false", "loop.log_steps=1", "watch.num_pictures=2", "epochs=6"]  # fmt: skip


def run(*words) -> int:
    return main([str(word) for word in words])


def pretrain(corpus, out, *settings, more=()) -> int:
    chosen = [word for setting in (*SMALL, *settings) for word in ("--set", setting)]
    return run("pretrain", "tiny_cpu", "--corpus", corpus, "--out", out, *more, *chosen)


def build(images, out, *settings) -> int:
    return run(
        "corpus", "build", "--images", images, "--out", out, "--workers", 1, "--set", "size_px=32", *settings
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Corpora of a linear and a convex transducer, and a run on the first."""
    root = tmp_path_factory.mktemp("clinics")
    for name, device, seed in (("old", DEVICES[0], 0), ("new", DEVICES[4], 1)):
        write_simulated_dataset(
            root / f"{name}-images", num_patients=8, images_per_patient=2, seed=seed, labelled=False,
            devices=[device], workers=0,
        )  # fmt: skip
        assert build(root / f"{name}-images", root / name) == 0
    assert pretrain(root / "old", root / "run") == 0
    return root


@pytest.fixture(scope="module")
def adapted(place):
    labelled = fake_dataset("folder", place / "labelled", num_patients=18)
    more = ("--weights", place / "run", "--watch", f"folder={labelled}")
    assert (
        pretrain(place / "new", place / "on", f"replay.corpus={place / 'old'}", "replay.ratio=0.3", more=more)
        == 0
    )
    return place / "on"


def test_the_report_says_what_was_gained_and_what_was_lost(adapted, place):
    record = json.loads((adapted / "run.json").read_text())
    assert record["replay"]["images_per_batch"] == 2  # .3 of 8 is 2.4
    assert record["weights"]["decoder"]["checkpoint"].startswith(str(place / "run"))
    found = record["adaptation"]
    assert found["new"]["before"]["value"] != found["old"]["before"]["value"]
    assert found["new"]["change"]["value"] < 0
    scores = {"knn_macro_f1", "knn_auroc", "linear_macro_f1", "linear_auroc"}
    assert {line["metric"] for line in found["watched"]} == scores
    page = (adapted / "report.html").read_text()
    assert "Gained and lost" in page
    assert "Reconstruction loss, old pool (old)" in page


def test_later_evaluations_look_for_test_images_in_both_pools(adapted, place, tmp_path):
    def evaluated(weights, out, size_px=32):
        words = ("--task", "folder", "--data", place / "labelled", "--weights", weights, "--out", out)
        assert run("evaluate", "knn", *words, "--set", f"task.size_px={size_px}") == 0
        return json.loads((out / "result.json").read_text())["contamination"]

    pools = [open_corpus(place / name).sha256 for name in ("new", "old")]
    assert evaluated(adapted, tmp_path / "both")["corpus_sha256"] == " + ".join(pools)
    # Gone on once more without naming them, the encoder has still seen what the runs before it saw.
    assert build(place / "labelled", tmp_path / "third") == 0
    assert pretrain(tmp_path / "third", tmp_path / "run", more=("--weights", adapted)) == 0
    found = evaluated(tmp_path / "run", tmp_path / "three")
    assert found["corpus_sha256"].split(" + ")[1:] == pools
    assert found["test_images_in_pool"] == found["of"]  # the third pool holds them all
    # Nor does another size of the task's images hide them, nor the file of the weights named for the run.
    found = evaluated(tmp_path / "run" / "weights.safetensors", tmp_path / "file", size_px=48)
    assert found["test_images_in_pool"] == found["of"]
    (tmp_path / "third" / "corpus.json").unlink()
    found = evaluated(tmp_path / "run", tmp_path / "gone")
    assert (found["test_images_in_pool"], found["pools_missing"]) == (0, [str(tmp_path / "third")])
    assert "which are not at hand" in (tmp_path / "gone" / "report.html").read_text()


def test_mistakes_are_answered_with_a_hint(place, tmp_path, capsys):
    for settings, said in [
        (["replay.ratio=0.3"], "needs replay.corpus"),
        ([f"replay.corpus={place / 'old'}", "replay.ratio=1.0"], "replay.ratio: Input should be less than 1"),
        ([f"replay.corpus={place / 'new'}"], "holds the same images as"),
        ([f"replay.corpus={place / 'none'}"], "is no corpus"),
        (["replay.ration=0.3"], "did you mean replay.ratio?"),
    ]:
        assert pretrain(place / "new", tmp_path / "run", *settings) == 2
        assert said in capsys.readouterr().err
        assert not (tmp_path / "run").exists()
