"""Several processes train what one trains: DDP, FSDP2, checkpoints between them, deaths. CPU and gloo."""

import itertools
import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import train_together
from together import end_all, finished, losses, process_of, torchrun, wait_until

from usfmae.base.config import with_settings
from usfmae.base.errors import TrainingError
from usfmae.engine.checkpoint import find_checkpoints
from usfmae.models.weights import read_weights
from usfmae.pretrain.config import PretrainConfig
from usfmae.pretrain.run import pretrain

SCRIPT = Path(train_together.__file__)
STEPS, HALF = 12, 6
TOLERANCE = 1e-6
EVERY_VARIANT = [
    "model.hiding.kind=sector", "model.context=clip", "model.decoder.kind=cross",
    "model.decoder.num_layers=2", "model.decoder.predict_ratio=0.5", "model.decoder.layers_seen=3",
    "model.encoder.image_px=[32, 24]", "resolution.start_px=[16, 16]",
]  # fmt: skip
CONTEXT = ["model.context=clip", "model.loss_in=sector"]


@pytest.fixture(scope="module")
def config(small_config) -> PretrainConfig:
    """12 steps of 9 images, which two processes share as 4 and 5."""
    return small_config.model_copy(
        update={
            "global_batch": 9,
            "epochs": 5.4,
            "loop": small_config.loop.model_copy(update={"checkpoint_steps": HALF, "keep_checkpoints": 3}),
            "watch": small_config.watch.model_copy(update={"every_epochs": 2.7}),
        }
    )


def looped(config: PretrainConfig, **settings) -> PretrainConfig:
    return config.model_copy(update={"loop": config.loop.model_copy(update=settings)})


def stopped_at(step: int, run: Path, out: Path) -> Path:
    """A copy of a finished run as it was at a checkpoint."""
    shutil.copytree(run, out)
    (out / "weights.safetensors").unlink()
    for checkpoint in find_checkpoints(out):
        if checkpoint.step > step:
            shutil.rmtree(checkpoint.path)
    record = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**record, "status": "stopped"}))
    return out


def written_anew(run: Path, inode: int) -> bool:
    return (run / "metrics.jsonl").stat().st_ino != inode


def same_losses(one: Path, two: Path) -> bool:
    return losses(one) == pytest.approx(losses(two), abs=TOLERANCE) and len(losses(one)) == STEPS


@pytest.fixture(scope="module")
def runs(config, small_corpus, clips, pair, tmp_path_factory) -> Path:
    """What one process does, and two.

    With DDP, in parts; with FSDP2, recomputing; going on where one stopped; with the variants of pretraining.
    """
    root = tmp_path_factory.mktemp("ranks")
    as_long = ["epochs=5.64", "watch.every_epochs=2.82"]  # the clips are 19 images, the others 20
    variants = {
        name: with_settings(config, [*changes, *as_long])
        for name, changes in (("variants", EVERY_VARIANT), ("context", CONTEXT))
    }
    pretrain(config, small_corpus, root / "one")
    for name, changed in variants.items():
        pretrain(changed, clips, root / name)
    stopped_at(HALF, root / "one", root / "one_then_fsdp")
    shared = {
        "ddp": (looped(config, accumulate=2), small_corpus),
        "fsdp": (looped(config, parallel="fsdp", activation_checkpointing=True), small_corpus),
        "one_then_fsdp": (looped(config, parallel="fsdp"), small_corpus),
        "variants_ddp": (looped(variants["variants"], accumulate=3), clips),
        "variants_fsdp": (looped(variants["variants"], parallel="fsdp"), clips),
        "context_ddp": (variants["context"], clips),
        "context_fsdp": (looped(variants["context"], parallel="fsdp", accumulate=2), clips),
    }
    said = pair.train(root, shared)
    assert "resumed with another loop.parallel ddp -> fsdp, equal up to rounding" in said
    assert "resumed with another number of processes (1 -> 2)" in said
    return root


PAIRS = [
    *((name, "one") for name in ("ddp", "fsdp", "one_then_fsdp")),
    *((f"{name}_{parallel}", name) for name in ("variants", "context") for parallel in ("ddp", "fsdp")),
]


@pytest.mark.parametrize(("name", "alone"), PAIRS)
def test_two_processes_do_what_one_does(runs, name, alone):
    assert same_losses(runs / name, runs / alone)
    record = json.loads((runs / name / "run.json").read_text())
    assert (record["status"], record["ranks"]["world"]) == ("finished", 2)
    assert not list((runs / name).rglob(".partial-*"))


def test_the_encoder_of_a_sharded_run_is_whole(runs):
    one, two = (read_weights(runs / name).tensors for name in ("one", "fsdp"))
    assert {name: tensor.shape for name, tensor in one.items()} == {n: t.shape for n, t in two.items()}


def test_the_encoder_of_a_sharded_checkpoint_is_that_of_its_run(runs):
    newest = find_checkpoints(runs / "fsdp")[-1].path
    encoder, run = (read_weights(path) for path in (newest, runs / "fsdp"))
    assert encoder.config == run.config
    for name, tensor in run.tensors.items():
        assert torch.equal(encoder.tensors[name], tensor)


def test_every_process_writes_its_shard(runs):
    newest = find_checkpoints(runs / "fsdp")[-1].path
    sizes = [path.stat().st_size for path in sorted(newest.glob("shard-*.safetensors"))]
    assert len(sizes) == 2
    assert max(sizes) < 1.5 * min(sizes)


def test_pictures_of_a_sharded_run_are_those_of_one_process(runs):
    for pair, step in itertools.product((("one", "fsdp"), ("variants", "variants_fsdp")), (0, HALF, STEPS)):
        looks = [np.load(runs / name / f"pictures/step_{step:08d}.npz") for name in pair]
        one, two = (look["reconstructed"].astype(int) for look in looks)
        assert np.abs(one - two).max() <= 1


def test_a_sharded_checkpoint_of_two_goes_on_alone(runs, config, small_corpus, tmp_path):
    out = stopped_at(HALF, runs / "fsdp", tmp_path / "alone")
    pretrain(config, small_corpus, out, resume=True)
    assert same_losses(out, runs / "one")


def test_a_damaged_or_foreign_shard_is_refused(runs, config, small_corpus, tmp_path):
    out = stopped_at(HALF, runs / "fsdp", tmp_path / "damaged")
    shard = next(find_checkpoints(out)[-1].path.glob("shard-00002*"))
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(bytes(content))
    with pytest.raises(TrainingError, match=r"shard-00002.*is damaged \(checksum differs\)"):
        pretrain(config, small_corpus, out, resume=True)
    shard.unlink()
    with pytest.raises(TrainingError, match=r"shard-00002.*is missing"):
        pretrain(config, small_corpus, out, resume=True)


def test_a_killed_process_is_replaced_and_a_stop_is_orderly(runs, config, small_corpus, tmp_path):
    out = tmp_path / "killed"
    settings = ("--set", "loop.checkpoint_steps=2", "--set", "workers=1")
    words = (SCRIPT, "pretrain", runs / "one", "--corpus", small_corpus, "--out", out, *settings)
    run = torchrun(*words, restarts=1)
    try:
        wait_until(run, lambda: len(losses(out)) >= 3)
        log = (out / "metrics.jsonl").stat().st_ino
        process_of(run, 0).kill()  # the one that holds the lock, as its batch worker still does
        wait_until(run, lambda: written_anew(out, log))  # cut back to the checkpoint: all started again
        wait_until(run, lambda: len(losses(out)) >= 5)
        run.send_signal(signal.SIGTERM)
        said = finished(run)
    finally:
        end_all(run)
    assert "forcefully exiting" not in said  # nobody hangs
    stopped = find_checkpoints(out)[-1].step
    assert f"stopped after step {stopped} of {STEPS}; a checkpoint was written" in said
    assert "go on with the same torchrun command and --resume" in said
    assert json.loads((out / "run.json").read_text())["status"] == "stopped"
    pretrain(config, small_corpus, out, resume=True)
    assert same_losses(out, runs / "one")
