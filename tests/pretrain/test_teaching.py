"""Learning from a teacher: what a run says of it, that it resumes to the bit, and what is refused."""

import json
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from teachers import drawn_vit, of_file

from usfmae.base.config import with_settings
from usfmae.base.errors import FolderError
from usfmae.base.files import file_sha256
from usfmae.engine.checkpoint import find_checkpoints
from usfmae.engine.metrics_log import read_metrics
from usfmae.models.cnn_weights import imagenet_file
from usfmae.models.mae import MaskedAutoencoder
from usfmae.models.vit import VisionTransformer, ViTConfig, start_weights
from usfmae.pretrain.run import pretrain
from usfmae.pretrain.run_folder import load_run_config


def same_weights(one, two) -> bool:
    return (one / "weights.safetensors").read_bytes() == (two / "weights.safetensors").read_bytes()


def cut(run, out, step: int = 2):
    """A copy of a finished run as it was after a step."""
    shutil.copytree(run, out)
    (out / "weights.safetensors").unlink()
    for checkpoint in find_checkpoints(out):
        if checkpoint.step > step:
            shutil.rmtree(checkpoint.path)
    record = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**record, "status": "stopped"}))
    return out


@pytest.fixture(scope="module")
def runs(kinds, short, small_corpus, tmp_path_factory):
    """A finished run with each kind of teacher."""
    root = tmp_path_factory.mktemp("runs")
    for name, words in kinds.items():
        pretrain(with_settings(short, words), small_corpus, root / name)
    return root


@pytest.mark.parametrize("name", ["lite", "file", "self"])
def test_a_run_with_a_teacher_that_was_stopped_ends_on_the_same_bits(
    name, runs, kinds, short, small_corpus, tmp_path
):
    out = cut(runs / name, tmp_path / "cut")
    assert [checkpoint.step for checkpoint in find_checkpoints(out)] == [2]
    pretrain(with_settings(short, kinds[name]), small_corpus, out, resume=True)
    assert same_weights(out, runs / name)


@pytest.mark.parametrize("name", ["lite", "file", "self"])
def test_the_parts_of_the_loss_are_logged_and_their_weighted_sum_is_the_loss(name, runs, kinds):
    lines = [line for line in read_metrics(runs / name / "metrics.jsonl") if line["kind"] == "train"]
    pooled_weight = 0.5 if name == "lite" else 1.0
    assert len(lines) == 3
    for line in lines:
        whole = line["loss_pixels"] + line["loss_features"] + pooled_weight * line["loss_pooled"]
        assert line["loss"] == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("name", ["lite", "file", "self"])
def test_a_teacher_is_in_no_checkpoint_and_no_weights_file(name, runs):
    encoder = load_file(runs / name / "weights.safetensors")
    plain = VisionTransformer(ViTConfig(image_px=32, patch_px=8)).state_dict()
    assert encoder.keys() == plain.keys()
    network = load_file(find_checkpoints(runs / name)[-1].path / "model.safetensors")
    extra = {key for key in network if not key.startswith("encoder.")} - {
        f"decoder.{key}" for key in MaskedAutoencoder(plain_model(runs / name)).decoder.state_dict()
    }
    assert extra == {
        f"decoder.heads.{part}.{what}" for part in ("places", "pooled") for what in ("weight", "bias")
    }


def test_a_checkpoint_keeps_the_average_that_teaches(runs):
    newest = find_checkpoints(runs / "self")[-1].path
    name = "encoder.blocks.0.mlp.fc1.weight"
    average = load_file(newest / "optimizer.safetensors")[f"teacher/{name}"]
    weights = [load_file(one.path / "model.safetensors")[name] for one in find_checkpoints(runs / "self")]
    # After 2 and 3 steps; in the third 4/13 stay, which is less than the decay of 0.9 ** (8 / 256).
    assert not torch.equal(average, weights[1])
    before = load_file(find_checkpoints(runs / "self")[0].path / "optimizer.safetensors")[f"teacher/{name}"]
    torch.testing.assert_close(average, before * 4 / 13 + weights[1] * 9 / 13, atol=1e-6, rtol=1e-5)


def plain_model(run):
    return with_settings(
        load_run_config(run), ["model.teacher.kind=none", "model.teacher.weights=null"]
    ).model


def test_the_record_and_the_weights_name_the_teacher(runs, teacher_weights):
    lite = json.loads((runs / "lite/run.json").read_text())
    sha256 = file_sha256(imagenet_file("efficientnet-lite0"))
    assert lite["teacher"] == {
        "kind": "efficientnet-lite0", "encoder": "efficientnet-lite0", "trained_on": "ImageNet",
        "file": str(imagenet_file("efficientnet-lite0")), "sha256": sha256, "licence": "Apache-2.0",
    }  # fmt: skip
    assert lite["made_by"]["inputs"]["teacher"] == sha256
    assert lite["made_by"]["settings"]["model"]["teacher"]["dim"] == 40
    assert lite["made_by"]["settings"]["model"]["teacher"]["pooled_dim"] == 1280
    file = json.loads((runs / "file/run.json").read_text())
    assert file["made_by"]["inputs"]["teacher"] == file["teacher"]["sha256"] == file_sha256(teacher_weights)
    assert file["teacher"]["licence"] is None
    own = json.loads((runs / "self/run.json").read_text())
    assert own["teacher"] == {"kind": "self", "layers_averaged": 2, "decay": 0.9}
    assert "teacher" not in own["made_by"]["inputs"]
    with safe_open(runs / "lite/weights.safetensors", framework="pt") as weights:
        (about,) = weights.metadata().values()
    noted = json.loads(json.loads(about)["notes"]["teacher"])
    assert noted["trained_on"] == "ImageNet"
    assert (noted["sha256"], noted["licence"], "file" in noted) == (sha256, "Apache-2.0", False)


def test_a_run_goes_on_with_the_same_teacher_elsewhere_and_not_with_another(
    runs, short, small_corpus, teacher_weights, tmp_path
):
    out = cut(runs / "file", tmp_path / "cut")
    other = drawn_vit(tmp_path / "other.safetensors", seed=6)
    with pytest.raises(FolderError, match=r"other settings or inputs \(the teacher\)"):
        pretrain(with_settings(short, of_file(other)), small_corpus, out, resume=True)
    moved = shutil.copy(teacher_weights, tmp_path / "moved.safetensors")
    pretrain(with_settings(short, of_file(moved)), small_corpus, out, resume=True)
    assert same_weights(out, runs / "file")


def test_without_a_teacher_weights_of_its_parts_change_nothing(short, small_corpus, tmp_path):
    for name, words in (("plain", []), ("same", ["model.teacher.weight=7", "model.teacher.pixel_weight=0"])):
        pretrain(with_settings(short, words), small_corpus, tmp_path / name)
    assert same_weights(tmp_path / "plain", tmp_path / "same")
    lines = read_metrics(tmp_path / "plain/metrics.jsonl")
    assert not [name for line in lines for name in line if name.startswith("loss_")]
    record = json.loads((tmp_path / "plain/run.json").read_text())
    assert record["teacher"] is None


def test_with_a_teacher_everything_else_starts_as_it_does_without(short, kinds):
    plain, taught = (MaskedAutoencoder(with_settings(short, words).model) for words in ([], kinds["self"]))
    for network in (plain, taught):
        start_weights(network, torch.Generator().manual_seed(0))
    more = taught.state_dict()
    assert all(torch.equal(tensor, more[name]) for name, tensor in plain.state_dict().items())
    assert {name for name in more if "heads" in name} == more.keys() - plain.state_dict().keys() != set()


VARIED = [
    ["model.decoder.kind=cross", "model.decoder.predict_ratio=0.5", "model.decoder.layers_seen=2"],
    [
        "model.context=clip",
        "model.hiding.kind=sector",
        "model.decoder.predict_ratio=0.5",
        "loop.accumulate=2",
    ],
    ["model.context=clip", "model.decoder.kind=cross", "resolution.start_px=16", "ema.decay=0.9"],
    ["model.teacher.weight=0", "model.teacher.pixel_weight=0", "model.teacher.pooled_from=class"],
    ["model.agreement.kind=image", "model.agreement.dim=8"],
]


@pytest.mark.parametrize(
    ("kind", "words"), [*zip(("file", "file", "self", "self", "self"), VARIED, strict=True)]
)
def test_a_teacher_goes_with_the_other_variants_and_resumes(kind, words, kinds, clips, short, tmp_path):
    config = with_settings(short, [*kinds[kind], *words])
    pretrain(config, clips, tmp_path / "whole")
    out = cut(tmp_path / "whole", tmp_path / "cut")
    pretrain(config, clips, out, resume=True)
    assert same_weights(out, tmp_path / "whole")


def test_a_run_taught_goes_on_from_another_with_its_heads(runs, kinds, short, small_corpus, tmp_path):
    config = with_settings(short, [*kinds["self"], "epochs=0.4"])
    record = pretrain(config, small_corpus, tmp_path / "on", weights=runs / "self")
    assert record["weights"]["loaded"]["fresh"] == []
    record = pretrain(config, small_corpus, tmp_path / "other", weights=runs / "lite")
    assert "another teacher.kind" in record["weights"]["decoder"]["why"]
    assert "decoder.heads.places.weight" in record["weights"]["loaded"]["fresh"]


def test_pools_that_a_teacher_saw_are_seen(runs, short, clips, tmp_path):
    words = ["model.teacher.kind=file", f"model.teacher.weights={runs / 'self'}", "epochs=0.4"]
    record = pretrain(with_settings(short, words), clips, tmp_path / "run")
    seen = {pool["sha256"] for pool in record["pools_seen"]}
    assert seen == {
        record["corpus"]["sha256"],
        json.loads((runs / "self/run.json").read_text())["corpus"]["sha256"],
    }
