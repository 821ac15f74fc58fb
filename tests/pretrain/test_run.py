import json
import resource
import shutil

import numpy as np
import pytest
from pydantic import ValidationError

from usfmae.base.errors import CorpusError, FolderError, TrainingError, WeightsError
from usfmae.base.input_spec import InputSpec
from usfmae.corpus.shards import open_corpus
from usfmae.engine.metrics_log import read_metrics
from usfmae.models.vit import VisionTransformer, ViTConfig
from usfmae.models.weights import load_encoder, save_encoder
from usfmae.pretrain.config import PretrainConfig
from usfmae.pretrain.run import pretrain
from usfmae.pretrain.run_folder import load_run_config


@pytest.fixture(scope="module")
def finished(small_corpus, small_config, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "small"
    record = pretrain(small_config, small_corpus, out, recipe="small")
    return out, record


def same_weights(one, two) -> bool:
    return (one / "weights.safetensors").read_bytes() == (two / "weights.safetensors").read_bytes()


def test_a_run_says_everything_about_itself(finished, small_corpus, small_config):
    out, record = finished
    assert json.loads((out / "run.json").read_text()) == record
    # 20 images, 3 epochs, batches of 8: 7.5 batches, so 8 steps.
    assert (record["status"], record["total_steps"], record["steps_done"]) == ("finished", 8, 8)
    assert record["made_by"]["inputs"] == {"corpus": open_corpus(small_corpus).sha256}
    assert load_run_config(out) == small_config.model_copy(update={"augment_on": "cpu"})
    # 48 wide, 3 layers. Patch: 64 x 48 + 48; class: 48; block: attention in and out, MLP, norms; last norm.
    assert record["num_parameters"]["encoder"] == 3120 + 48 + 3 * (7056 + 2352 + 18_672 + 192) + 96


def test_the_loss_falls(finished):
    out, _ = finished
    losses = [line["loss"] for line in read_metrics(out / "metrics.jsonl") if line["kind"] == "train"]
    assert len(losses) == 8
    assert losses[-1] < losses[0]


def test_pictures_show_visible_patches_untouched_and_hidden_ones_filled(finished):
    out, _ = finished
    looks = sorted((out / "pictures").iterdir())
    assert [path.name for path in looks] == [f"step_{s:08d}.npz" for s in (0, 2, 4, 6, 8)]
    with np.load(looks[-1]) as look:
        visible, reconstructed, original = look["visible"], look["reconstructed"], look["original"]
    assert original.shape == (3, 32, 32)
    seen = np.kron((visible.reshape(3, 4, 8, 4, 8).max((2, 4)) > 0), np.ones((8, 8), bool))
    assert 3 * 4 * 64 >= seen.sum() > 0
    assert np.array_equal(reconstructed[seen], original[seen])
    assert not np.array_equal(reconstructed[~seen], original[~seen])


def test_the_encoder_loads_with_its_input(finished, small_config):
    loaded = load_encoder(finished[0])
    assert loaded.input_spec == small_config.input_spec
    assert loaded.report.dropped == {}


def test_a_run_is_a_function_of_settings_corpus_and_seed(finished, small_config, small_corpus, tmp_path):
    same = small_config.model_copy(update={"workers": 1})
    pretrain(same, small_corpus, tmp_path / "same", recipe="small")
    assert same_weights(tmp_path / "same", finished[0])
    pretrain(small_config.model_copy(update={"seed": 1}), small_corpus, tmp_path / "other")
    assert not same_weights(tmp_path / "other", finished[0])


def test_an_existing_run_is_refused_resumed_or_overwritten(finished, small_config, small_corpus, tmp_path):
    out = tmp_path / "copy"
    shutil.copytree(finished[0], out)
    with pytest.raises(FolderError, match="exists already"):
        pretrain(small_config, small_corpus, out)
    before = (out / "weights.safetensors").stat().st_mtime_ns
    assert pretrain(small_config, small_corpus, out, resume=True)["status"] == "finished"
    assert (out / "weights.safetensors").stat().st_mtime_ns == before
    changed = small_config.model_copy(update={"epochs": 4.0})
    with pytest.raises(FolderError, match=r"other settings or inputs \(epochs 3.0 -> 4.0\)"):
        pretrain(changed, small_corpus, out, resume=True)
    assert pretrain(changed, small_corpus, out, overwrite=True)["total_steps"] == 10


def test_a_run_starts_from_an_earlier_one_and_says_what_it_loaded(
    finished, small_config, small_corpus, tmp_path
):
    record = pretrain(small_config, small_corpus, tmp_path / "on", weights=finished[0])
    assert record["weights"]["loaded"]["loaded"] == 6 + 3 * 12  # 12 tensors a block
    assert record["weights"]["loaded"]["fresh"] == []
    assert record["weights"]["decoder"]["checkpoint"] == str(finished[0] / "checkpoints/step_00000008")
    assert set(record["made_by"]["inputs"]) == {"corpus", "weights", "decoder"}


def test_weights_of_another_size_are_refused_before_anything_is_trained(small_config, small_corpus, tmp_path):
    save_encoder(
        tmp_path / "s.safetensors",
        VisionTransformer(ViTConfig(size="s", image_px=32, patch_px=8)),
        input_spec=InputSpec(image_px=32),
    )
    with pytest.raises(WeightsError, match="the file holds a ViT-s/8"):
        pretrain(small_config, small_corpus, tmp_path / "run", weights=tmp_path / "s.safetensors")


def test_live_scores_are_written_beside_the_loss(small_config, small_corpus, tmp_path):
    def constant(encoder, input_spec):
        assert not encoder.training
        return [{"task": "busi", "metric": "knn_auroc", "value": 0.5}]

    pretrain(small_config, small_corpus, tmp_path / "run", evaluations=[constant], watched=["busi=here"])
    lines = [line for line in read_metrics(tmp_path / "run/metrics.jsonl") if line["kind"] == "watch"]
    assert [line["step"] for line in lines] == [0, 2, 4, 6, 8]


def test_a_learning_rate_that_explodes_stops_the_run_with_a_hint(small_config, small_corpus, tmp_path):
    mad = small_config.model_copy(
        update={"optim": small_config.optim.model_copy(update={"lr_per_256": 1e30, "clip_norm": None})}
    )
    with pytest.raises(TrainingError, match="not a finite number") as caught:
        pretrain(mad, small_corpus, tmp_path / "run")
    assert "optim.lr_per_256" in caught.value.hint
    assert (tmp_path / "run" / "bad_batch.safetensors").exists()
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["status"], record["error"]) == ("failed", caught.value.message)


def test_a_full_disk_at_the_last_checkpoint_does_not_cost_the_weights(
    finished, small_config, small_corpus, tmp_path
):
    # Files of 0.6 MB at most: the weights (0.36 MB) fit, the averages of a checkpoint (0.75 MB) do not.
    out = tmp_path / "run"
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, unlimited[1]))
    try:
        with pytest.raises(FolderError, match="step_00000008: cannot be written") as caught:
            pretrain(small_config, small_corpus, out, recipe="small")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert f"training is done, and its weights are in {out / 'weights.safetensors'}" in caught.value.message
    assert same_weights(out, finished[0])
    record = json.loads((out / "run.json").read_text())
    assert (record["status"], record["error"], record["steps_done"]) == ("failed", caught.value.message, 0)


def test_a_corpus_with_a_flipped_byte_is_refused_and_leaves_no_run(small_config, small_corpus, tmp_path):
    corpus = tmp_path / "corpus"
    shutil.copytree(small_corpus, corpus)
    shard = corpus / "parts" / "00000" / "shard.npy"
    damaged = bytearray(shard.read_bytes())
    damaged[500] ^= 255
    shard.write_bytes(damaged)
    with pytest.raises(CorpusError, match=r"1 of 1 shards are damaged \(checksum"):
        pretrain(small_config, corpus, tmp_path / "run")
    assert not any((tmp_path / "run").iterdir())


def test_a_pool_smaller_than_a_batch_is_said(small_config, small_corpus, tmp_path, caplog):
    large = small_config.model_copy(update={"global_batch": 24, "epochs": 1.0})
    pretrain(large, small_corpus, tmp_path / "run")
    assert "has 20 images to train on, fewer than the 24 of a batch" in caplog.text


def test_a_folder_that_is_no_corpus_is_refused(small_config, tmp_path):
    with pytest.raises(CorpusError, match="is no corpus"):
        pretrain(small_config, tmp_path, tmp_path / "run")


def test_settings_that_contradict_each_other_are_refused():
    with pytest.raises(ValidationError, match="mean needs 1 or 1 values"):
        PretrainConfig(mean=(0.1, 0.2, 0.3))
