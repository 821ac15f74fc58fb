import shutil

import pytest
import torch

from usfmae.base.errors import TrainingError
from usfmae.models.mae import DecoderConfig, MaskedAutoencoder
from usfmae.pretrain.run import pretrain
from usfmae.pretrain.start import read_start


@pytest.fixture(scope="module")
def finished(small_corpus, small_config, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "small"
    pretrain(small_config.model_copy(update={"epochs": 1.0}), small_corpus, out)
    return out


def with_model(config, **changes):
    return config.model_copy(update={"model": config.model.model_copy(update=changes)})


def test_a_run_gives_its_encoder_and_the_decoder_of_its_last_checkpoint(finished, small_config):
    start = read_start(finished, small_config)
    module = MaskedAutoencoder(small_config.model)
    facts = start.load_into(module, small_config)
    again = MaskedAutoencoder(small_config.model)
    again.encoder.load_state_dict({name: start.file.tensors[name] for name in again.encoder.state_dict()})
    assert torch.equal(module.encoder.norm.weight, again.encoder.norm.weight)
    # Trained for three steps, the decoder's mask token is no longer where it began.
    assert torch.equal(module.decoder.mask_token, start.decoder["mask_token"])
    assert module.decoder.mask_token.abs().sum() > 0
    assert facts["loaded"]["fresh"] == []
    assert set(start.inputs) == {"weights", "decoder"}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"decoder": DecoderConfig(dim=32, num_layers=1, num_heads=2)}, "another decoder.dim"),
        ({"decoder": DecoderConfig(dim=16, num_layers=1, num_heads=2, kind="cross")}, "another decoder.kind"),
        ({"normalised_pixels": False}, "another normalised_pixels"),
    ],
)
def test_a_decoder_of_another_kind_begins_at_random_and_it_is_said_why(finished, small_config, changes, why):
    config = with_model(small_config, **changes)
    start = read_start(finished, config)
    facts = start.load_into(MaskedAutoencoder(config.model), config)
    assert facts["decoder"] == {"why": f"that of the run has {why}"}
    assert facts["loaded"]["fresh"]
    assert set(start.inputs) == {"weights"}


def test_how_much_is_predicted_and_hidden_does_not_keep_a_decoder_away(finished, small_config):
    decoder = small_config.model.decoder.model_copy(update={"predict_ratio": 0.5})
    assert read_start(finished, with_model(small_config, decoder=decoder, hide_ratio=0.5)).decoder


def test_a_weights_file_alone_has_no_decoder_and_what_its_run_has_seen_is_known(finished, small_config):
    start = read_start(finished / "weights.safetensors", small_config)
    assert start.decoder_from == {"why": "the weights are not the folder of a run"}
    assert start.pools
    assert start.pools == read_start(finished, small_config).pools


def test_of_a_file_that_was_carried_off_nobody_knows_the_pool(finished, small_config, tmp_path):
    shutil.copy(finished / "weights.safetensors", tmp_path)
    start = read_start(tmp_path / "weights.safetensors", small_config)
    assert (start.pools, start.decoder) == ((), {})


def test_a_run_whose_checkpoints_were_deleted_gives_its_encoder(finished, small_config, tmp_path):
    shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("step_*"))
    start = read_start(tmp_path / "run", small_config)
    assert start.decoder_from == {"why": "the run has no checkpoint of its end"}


def test_a_checkpoint_from_before_the_end_does_not_belong_to_the_weights(finished, small_config, tmp_path):
    shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("step_*"))
    last = finished / "checkpoints/step_00000003"
    shutil.copytree(last, tmp_path / "run/checkpoints/step_00000002")
    assert read_start(tmp_path / "run", small_config).decoder == {}


def test_a_damaged_checkpoint_is_refused(finished, small_config, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    path = next((tmp_path / "run/checkpoints").glob("step_*")) / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    for path in (tmp_path / "run/checkpoints").glob("step_*/model.safetensors"):
        path.write_bytes(bytes(content))
    with pytest.raises(TrainingError, match="is damaged"):
        read_start(tmp_path / "run", small_config)
