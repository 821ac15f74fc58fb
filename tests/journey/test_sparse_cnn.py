"""A convolutional network goes on from ImageNet with unlabelled images, through the command line."""

import json
from pathlib import Path

import pytest

from usfmae.cli.main import main
from usfmae.datasets.fake import fake_dataset

SETTINGS = ["model.encoder.image_px=64", "model.hide_ratio=0.5", "global_batch=8", "epochs=2", "threads=1",
            "loop.log_steps=1", "watch.every_epochs=2", "watch.num_pictures=2"]  # fmt: skip
NAME = "efficientnet-lite0"


def run(*words) -> int:
    return main([str(word) for word in words])


def chosen(*settings: str) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A labelled folder, a pool that holds its images, and a run on it that was watched."""
    root = tmp_path_factory.mktemp("place")
    labelled = fake_dataset("folder", root / "labelled", num_patients=18)
    words = ("corpus", "build", "--images", labelled, "--out", root / "corpus", "--workers", 1)
    assert run(*words, *chosen("size_px=32", "fit=stretch")) == 0
    words = ("--corpus", root / "corpus", "--out", root / "run", "--watch", f"folder={labelled}")
    weights = ("--weights", "imagenet")
    assert run("pretrain", "sparse_cnn_cpu", *weights, *words, *chosen(*SETTINGS)) == 0
    return root


def evaluated(place, method, out, *words) -> int:
    task = ("--task", "folder", "--data", place / "labelled", "--weights", place / "run", "--out", out)
    return run("evaluate", method, *task, *chosen("task.size_px=32", "threads=1"), *words)


def result(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())


def test_a_run_is_watched_and_its_page_is_drawn(place):
    lines = [json.loads(line) for line in (place / "run/metrics.jsonl").read_text().splitlines()]
    assert {"knn_macro_f1", "linear_auroc", "feature_rank"} <= {
        line["metric"] for line in lines if line["kind"] == "watch"
    }
    assert "sparse_cnn_cpu" in (place / "run/report.html").read_text()
    record = json.loads((place / "run/run.json").read_text())
    assert record["status"] == "finished"
    assert record["weights"]["file"] == "imagenet"


def test_a_run_says_which_network_it_holds_and_what_it_has_seen(place, tmp_path, capsys):
    assert evaluated(place, "knn", tmp_path / "knn") == 0
    assert evaluated(place, "knn", tmp_path / "named", "--encoder", NAME) == 0
    one, two = result(tmp_path / "knn"), result(tmp_path / "named")
    assert one["metrics"] == two["metrics"]
    assert (one["encoder"], one["init"], one["licence"]) == (NAME, "pretrained", None)
    assert one["contamination"]["checked"]
    assert one["contamination"]["test_images_in_pool"] == one["contamination"]["of"]
    assert "stretched to a square" in one["stated"]["shown"]  # as the corpus was
    capsys.readouterr()
    said_of = {
        "vit": "holds efficientnet-lite0, a convolutional network, and no vision transformer",
        "resnet-50": "is no resnet-50: it says that it holds efficientnet-lite0",
    }
    for other, words in said_of.items():
        assert evaluated(place, "knn", tmp_path / other, "--encoder", other) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert words in said
        assert "--encoder efficientnet-lite0" in said


def test_it_is_fine_tuned_and_probed(place, tmp_path):
    assert evaluated(place, "finetune", tmp_path / "finetune", *chosen("epochs=0.5")) == 0
    assert evaluated(place, "linear-probe", tmp_path / "probe") == 0
    for name in ("finetune", "probe"):
        assert (result(tmp_path / name)["encoder"], result(tmp_path / name)["init"]) == (NAME, "pretrained")


def test_a_plan_takes_a_run_and_looks_into_its_pool(place, tmp_path, capsys):
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        f"tasks: [{{name: folder, data: labelled}}]\n"
        f"encoders: [{{name: ours, weights: {place / 'run'}}},\n"
        f"           {{name: imagenet, encoder: {NAME}, weights: imagenet, settings: [image_px=64]}}]\n"
        "ways: [{method: knn}]\nseeds: [0]\nsettings: [task.size_px=32, threads=1]\n"
        "bootstrap: {num_resamples: 100}\n"
    )
    words = ("evaluate", "compare", plan, "--data", place, "--out")
    assert run(*words, tmp_path / "refused") != 0
    assert "ours has seen" in " ".join(capsys.readouterr().err.split())
    plan.write_text(plan.read_text() + "allow_contamination: true\n")
    assert run(*words, tmp_path / "out") == 0
    made = [result(path.parent) for path in (tmp_path / "out").rglob("result.json")]
    found = {(one["encoder"], one["init"]) for one in made}
    assert found == {(NAME, "pretrained"), (NAME, "imagenet")}


def test_the_words_of_weights_are_those_of_evaluations(place, tmp_path, capsys):
    words = ("--corpus", place / "corpus", "--out", tmp_path / "vit")
    assert run("pretrain", "tiny_cpu", "--weights", "imagenet", *words) == 2
    assert "no ImageNet weights of a ViT are on this machine" in " ".join(capsys.readouterr().err.split())
    words = ("--corpus", place / "corpus", "--out", tmp_path / "cnn", "--weights", "scratch")
    assert run("pretrain", "sparse_cnn_cpu", *words, *chosen(*SETTINGS, "epochs=0.3")) == 0
    assert json.loads((tmp_path / "cnn/run.json").read_text())["weights"] is None
