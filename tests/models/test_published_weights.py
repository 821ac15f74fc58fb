import argparse

import pytest
import torch

from usfmae.base.errors import WeightsError
from usfmae.base.input_spec import IMAGENET_INPUT
from usfmae.models.mae import DecoderConfig, MaeConfig, MaskedAutoencoder
from usfmae.models.published_weights import load_published
from usfmae.models.vit import ViTConfig, start_weights
from usfmae.models.weights import load_encoder

MAE_NAMES = {"decoder.mask_token": "mask_token", "decoder.": "decoder_", "encoder.": ""}


def usf_mae():
    """A masked autoencoder of the published kind (3 channels, patches of 16), smaller, and its state dict
    under the published names."""
    config = ViTConfig(size="ti", image_px=64, patch_px=16, channels=3)
    mae = MaskedAutoencoder(
        MaeConfig(encoder=config, decoder=DecoderConfig(dim=32, num_layers=2, num_heads=4))
    )
    start_weights(mae, torch.Generator().manual_seed(0))
    state = {}
    for name, tensor in mae.state_dict().items():
        ours, theirs = next((a, b) for a, b in MAE_NAMES.items() if name.startswith(a))
        state[theirs + name.removeprefix(ours)] = tensor
    return mae.encoder.eval(), state


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("nested", [None, "model", "state_dict"])
def test_the_published_usf_mae_loads_whatever_its_file_has_beside_it(tmp_path, prefix, nested):
    encoder, state = usf_mae()
    content = {prefix + name: tensor for name, tensor in state.items()}
    if nested:
        optimizer = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-4, "params": [0]}]}
        args = argparse.Namespace(blr=1.5e-4, mask_ratio=0.75)
        content = {nested: content, "optimizer": optimizer, "scheduler": {"last_epoch": 99}, "epoch": 99}
        content |= {"scaler": {"scale": 65536.0}, "args": args}
    torch.save(content, tmp_path / "usf-mae.pt")
    loaded = load_published(tmp_path / "usf-mae.pt", "usf-mae")
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(loaded.encoder(images), encoder(images))
    assert set(loaded.report.loaded) == set(encoder.state_dict())
    assert set(loaded.report.dropped.values()) == {"decoder, not used after pretraining"}
    assert loaded.input_spec == IMAGENET_INPUT.model_copy(update={"image_px": 64})


def test_a_usf_mae_without_a_block_is_refused(tmp_path):
    _, state = usf_mae()
    del state["blocks.3.mlp.fc1.bias"]
    torch.save({"model": state}, tmp_path / "usf-mae.pt")
    with pytest.raises(
        WeightsError, match=r"1 of 150 encoder tensors are missing.*blocks\.3\.mlp\.fc1\.bias"
    ):
        load_published(tmp_path / "usf-mae.pt", "usf-mae")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"gone\.pt: no such weights file"):
        load_published(tmp_path / "gone.pt", "usf-mae")


def test_openus_says_what_is_missing(tmp_path):
    with pytest.raises(
        WeightsError, match=r"Vision Mamba.*selective scan is not written here.*mamba-ssm"
    ) as caught:
        load_published(tmp_path / "openus.pth", "openus")
    assert "usfm" in caught.value.hint


def imagenet_vits():
    """ImageNet's other ViTs, which need no adapter: MAE's encoder alone, a supervised one with its head."""
    encoder, state = usf_mae()
    mae = {name: tensor for name, tensor in state.items() if not name.startswith(("decoder", "mask_token"))}
    head = {"head.weight": torch.zeros(1000, 192), "head.bias": torch.zeros(1000)}
    return encoder, {"mae_pretrain_vit.pth": {"model": mae}, "supervised.pth": mae | head}


@pytest.mark.parametrize("name", ["mae_pretrain_vit.pth", "supervised.pth"])
def test_mae_and_supervised_vits_of_imagenet_load_as_vit(name, tmp_path):
    encoder, files = imagenet_vits()
    torch.save(files[name], tmp_path / name)
    loaded = load_encoder(tmp_path / name)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded.encoder(images), encoder(images))
    assert set(loaded.report.dropped.values()) <= {"classifier of another task"}


def test_a_dinov2_is_not_taken_for_a_vit_without_its_layer_scale(tmp_path):
    _, files = imagenet_vits()
    scales = {f"blocks.{k}.ls{n}.gamma": torch.ones(192) for k in range(12) for n in (1, 2)}
    torch.save(files["supervised.pth"] | scales, tmp_path / "dino.pth")
    with pytest.raises(
        WeightsError, match=r"24 of its tensors are of another transformer.*ls1\.gamma"
    ) as caught:
        load_encoder(tmp_path / "dino.pth")
    assert "--encoder dinov2" in caught.value.hint
