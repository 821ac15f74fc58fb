import json

import pytest
import torch
from safetensors.torch import save_file

from usfmae.base.errors import WeightsError
from usfmae.base.input_spec import IMAGENET_INPUT, InputSpec
from usfmae.models.mae import DecoderConfig, MaeConfig, MaskedAutoencoder
from usfmae.models.vit import VisionTransformer, ViTConfig, start_weights
from usfmae.models.weights import load_encoder, load_into, read_weights, save_encoder

MAE_NAMES = {
    "decoder.embed.": "decoder_embed.",
    "decoder.pos_embed": "decoder_pos_embed",
    "decoder.blocks.": "decoder_blocks.",
    "decoder.norm.": "decoder_norm.",
    "decoder.pred.": "decoder_pred.",
    "decoder.mask_token": "mask_token",
    "encoder.": "",
}


def network(image_px: int = 32, channels: int = 1, seed: int = 0) -> MaskedAutoencoder:
    mae = MaskedAutoencoder(
        MaeConfig(
            encoder=ViTConfig(image_px=image_px, patch_px=8, channels=channels),
            decoder=DecoderConfig(dim=32, num_layers=1, num_heads=4),
        )
    )
    start_weights(mae, torch.Generator().manual_seed(seed))
    return mae


def mae_state(mae: MaskedAutoencoder) -> dict[str, torch.Tensor]:
    """A state dict under the names of the published MAE files."""
    state = {}
    for name, tensor in mae.state_dict().items():
        for ours, theirs in MAE_NAMES.items():
            if name.startswith(ours):
                state[theirs + name.removeprefix(ours)] = tensor
                break
    return state


def hugging_face_state(encoder: VisionTransformer, *, old: bool) -> dict[str, torch.Tensor]:
    """A state dict under Hugging Face's ViT names: transformers 4 (`old`) or 5."""
    heads = ("attention.attention.query", "attention.attention.key", "attention.attention.value")
    rest = {"attn.proj": "attention.output.dense", "mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense"}
    if not old:
        heads = ("attention.q_proj", "attention.k_proj", "attention.v_proj")
        rest = {"attn.proj": "attention.o_proj"}
    state = {}
    for name, tensor in encoder.state_dict().items():
        if name.startswith("blocks."):
            _, index, inside = name.split(".", 2)
            block = f"vit.encoder.layer.{index}." if old else f"vit.layers.{index}."
            inside = inside.replace("norm1", "layernorm_before").replace("norm2", "layernorm_after")
            for ours, theirs in rest.items():
                inside = inside.replace(ours, theirs)
            if inside.startswith("attn.qkv"):
                for head, third in zip(heads, tensor.chunk(3), strict=True):
                    state[block + head + inside.removeprefix("attn.qkv")] = third
            else:
                state[block + inside] = tensor
            continue
        for ours, theirs in {
            "cls_token": "embeddings.cls_token",
            "pos_embed": "embeddings.position_embeddings",
            "patch_embed.proj": "embeddings.patch_embeddings.projection",
            "norm.": "layernorm.",
        }.items():
            if name.startswith(ours):
                state["vit." + theirs + name.removeprefix(ours)] = tensor
    return state


def same(one: torch.nn.Module, two: torch.nn.Module) -> bool:
    return all(
        torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    )


def test_what_is_saved_comes_back(tmp_path):
    encoder, spec = network().encoder, InputSpec(image_px=32, mean=(0.3,), std=(0.2,))
    save_encoder(tmp_path / "weights.safetensors", encoder, input_spec=spec)
    loaded = load_encoder(tmp_path)
    assert same(loaded.encoder, encoder)
    assert loaded.input_spec == spec
    assert set(loaded.report.loaded) == set(encoder.state_dict())
    assert (loaded.report.resized, loaded.report.dropped, loaded.report.fresh) == ({}, {}, ())
    assert not loaded.encoder.training


def test_equal_networks_give_equal_files(tmp_path):
    notes = {name: name for name in "abcdefgh"}
    for k in range(3):
        save_encoder(tmp_path / f"{k}.st", network().encoder, input_spec=InputSpec(image_px=32), notes=notes)
    assert len({(tmp_path / f"{k}.st").read_bytes() for k in range(3)}) == 1


def test_the_published_mae_layout_loads_with_nothing_missing(tmp_path):
    source, target = network(channels=3), network(channels=3, seed=1)
    torch.save({"model": mae_state(source)}, tmp_path / "mae_pretrain_vit_base_full.pth")
    file = read_weights(tmp_path / "mae_pretrain_vit_base_full.pth")
    assert file.input_spec == IMAGENET_INPUT.model_copy(update={"image_px": 32})
    report = load_into(target.encoder, file, decoder=target.decoder)
    assert same(target, source)
    assert len(report.loaded) == len(source.state_dict())
    assert (report.dropped, report.fresh) == ({}, ())


def test_timms_layout_loads_and_its_classifier_is_named_as_dropped(tmp_path):
    encoder = network(channels=3).encoder
    state = {**encoder.state_dict(), "head.weight": torch.zeros(7, 192), "head.bias": torch.zeros(7)}
    save_file(state, tmp_path / "model.safetensors")
    loaded = load_encoder(tmp_path / "model.safetensors")
    assert same(loaded.encoder, encoder)
    assert set(loaded.report.dropped) == {"head.weight", "head.bias"}
    assert "2 dropped (classifier of another task)" in loaded.report.summary()


@pytest.mark.parametrize("old", [True, False])
def test_hugging_faces_layout_loads_with_nothing_missing(tmp_path, old):
    encoder = network(channels=3).encoder
    save_file(hugging_face_state(encoder, old=old), tmp_path / "model.safetensors")
    loaded = load_encoder(tmp_path / "model.safetensors")
    assert same(loaded.encoder, encoder)
    assert loaded.report.dropped == {}


def test_positions_are_resampled_to_another_input_size_and_said_so(tmp_path):
    save_encoder(tmp_path / "w.safetensors", network(32).encoder, input_spec=InputSpec(image_px=32))
    loaded = load_encoder(tmp_path / "w.safetensors", image_px=48)
    assert loaded.report.resized == {"pos_embed": "positions 4x4 -> 6x6"}
    assert loaded.encoder(torch.zeros(1, 1, 48, 48)).shape == (1, 37, 192)
    assert loaded.input_spec.image_px == 48


def test_folding_colours_into_grey_changes_no_output(tmp_path):
    colour = network(channels=3).encoder.eval()
    torch.save(colour.state_dict(), tmp_path / "colour.pth")
    file = read_weights(tmp_path / "colour.pth")
    grey_spec = InputSpec(image_px=32, mean=(0.2,), std=(0.3,))
    grey = network(channels=1, seed=1).encoder.eval()
    report = load_into(grey, file, input_spec=grey_spec)
    assert report.resized == {"patch_embed.proj": "3 channels folded into 1"}
    pixels = torch.rand(2, 1, 32, 32)
    mean = torch.tensor(IMAGENET_INPUT.mean).reshape(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_INPUT.std).reshape(1, 3, 1, 1)
    torch.testing.assert_close(
        grey((pixels - 0.2) / 0.3), colour((pixels - mean) / std), atol=1e-4, rtol=1e-4
    )


def test_a_file_that_leaves_an_encoder_tensor_random_is_refused(tmp_path):
    state = network(channels=3).encoder.state_dict()
    del state["blocks.7.mlp.fc1.weight"]
    save_file(state, tmp_path / "holes.safetensors")
    with pytest.raises(
        WeightsError, match=r"1 of 150 encoder tensors are missing \(first: blocks.7.mlp.fc1.weight\)"
    ):
        load_encoder(tmp_path / "holes.safetensors")


def test_weights_of_another_size_are_refused_with_what_would_fit(tmp_path):
    save_encoder(tmp_path / "w.safetensors", network().encoder, input_spec=InputSpec(image_px=32))
    other = VisionTransformer(ViTConfig(size="s", image_px=32, patch_px=8))
    with pytest.raises(WeightsError, match="the file holds a ViT-ti/8 with 1 channel") as caught:
        load_into(other, read_weights(tmp_path / "w.safetensors"))
    assert caught.value.hint == "--set model.encoder.size=ti fits the file"


def test_a_decoder_of_another_shape_stays_fresh_and_is_named(tmp_path):
    torch.save(mae_state(network()), tmp_path / "mae.pth")
    target = MaskedAutoencoder(
        MaeConfig(
            encoder=ViTConfig(image_px=32, patch_px=8),
            decoder=DecoderConfig(dim=64, num_layers=1, num_heads=4),
        )
    )
    report = load_into(target.encoder, read_weights(tmp_path / "mae.pth"), decoder=target.decoder)
    assert set(report.dropped.values()) == {"decoder of another shape"}
    assert len(report.fresh) == len(target.decoder.state_dict())


def test_damaged_missing_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    save_encoder(path, network().encoder, input_spec=InputSpec(image_px=32))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        load_encoder(path)
    with pytest.raises(WeightsError, match="no such weights file"):
        load_encoder(tmp_path / "none.pth")
    with pytest.raises(WeightsError, match=r"holds no weights\.safetensors"):
        load_encoder(tmp_path)
    (tmp_path / "text.pth").write_text(json.dumps({"a": 1}))
    with pytest.raises(WeightsError, match=r"text\.pth"):
        load_encoder(tmp_path / "text.pth")
    save_file({"conv1.weight": torch.zeros(2)}, tmp_path / "cnn.safetensors")
    with pytest.raises(WeightsError, match="holds no vision transformer"):
        load_encoder(tmp_path / "cnn.safetensors")


@pytest.mark.parametrize("text", ["epoch 1\n", "hello", "(1", "\x80", "404 not found", "<html>"])
def test_a_text_file_named_as_weights_is_refused(tmp_path, text):
    (tmp_path / "text.pth").write_text(text)
    with pytest.raises(WeightsError, match=r"text\.pth: (cannot be read|holds more than tensors)") as caught:
        read_weights(tmp_path / "text.pth")
    assert "\x1b" not in caught.value.message
    assert caught.value.hint


def test_weights_that_are_not_finite_are_refused(tmp_path):
    mae = network()
    with torch.no_grad():
        mae.encoder.blocks[3].norm1.weight[0] = float("nan")
    save_encoder(tmp_path / "w.safetensors", mae.encoder, input_spec=InputSpec(image_px=32))
    said = r"1 of \d+ encoder tensors hold .*not finite \(first: blocks\.3\.norm1\.weight\)"
    with pytest.raises(WeightsError, match=said):
        load_encoder(tmp_path / "w.safetensors")


class Harmful:
    def __reduce__(self):
        return (print, ("run by unpickling",))


def test_a_pickle_that_runs_code_is_not_opened(tmp_path, capsys):
    torch.save({"model": Harmful()}, tmp_path / "bad.pth")
    with pytest.raises(WeightsError, match="holds more than tensors"):
        load_encoder(tmp_path / "bad.pth")
    with pytest.raises(WeightsError) as caught:
        load_encoder(tmp_path / "bad.pth")
    assert "\x1b" not in caught.value.message
    assert capsys.readouterr().out == ""
