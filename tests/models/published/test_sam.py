import pytest
import torch
from torch import nn

from usfmae.base.errors import SettingError, WeightsError
from usfmae.base.input_spec import IMAGENET_INPUT
from usfmae.models.encoders import build_encoder, encoder_record
from usfmae.models.published.sam import RelativeAttention, SamConfig, SamEncoder, in_windows, resample_sam
from usfmae.models.published_weights import load_published

SMALL = SamConfig(dim=24, num_layers=3, num_heads=2, image_px=96, window=4, global_layers=(1,), out_dim=8)
OF_BLOCK = {
    "segment-anything": ("image_encoder.blocks.{}.", "norm1", "norm2", "mlp.lin1", "mlp.lin2"),
    "hugging-face": ("vision_encoder.layers.{}.", "layer_norm1", "layer_norm2", "mlp.lin1", "mlp.lin2"),
    "mmdet": ("backbone.layers.{}.", "ln1", "ln2", "ffn.layers.0.0", "ffn.layers.1"),
}
OF_REST = {
    "segment-anything": ("image_encoder.", "patch_embed.proj", ("neck.0", "neck.1", "neck.2", "neck.3")),
    "hugging-face": (
        "vision_encoder.",
        "patch_embed.projection",
        ("neck.conv1", "neck.layer_norm1", "neck.conv2", "neck.layer_norm2"),
    ),
    "mmdet": (
        "backbone.",
        "patch_embed.projection",
        ("channel_reduction.0", "channel_reduction.1", "channel_reduction.2", "channel_reduction.3"),
    ),
}
BESIDE = {
    "segment-anything": (
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
        "mask_decoder.iou_token.weight",
    ),
    "hugging-face": ("shared_image_embedding.positional_embedding", "mask_decoder.iou_token.weight"),
    "mmdet": (
        "prompt_encoder.label_encoder.label_embedding.weight",
        "decoder.layers.0.ffn.layers.1.bias",
        "bbox_head.mask_embed.0.weight",
    ),
}


def published_names(layout, num_layers=3):
    """Our name of each tensor -> the published one."""
    block, norm1, norm2, fc1, fc2 = OF_BLOCK[layout]
    prefix, patches, neck = OF_REST[layout]
    names = {"pos_embed": prefix + "pos_embed"}
    for part in ("weight", "bias"):
        names[f"patch_embed.proj.{part}"] = f"{prefix}{patches}.{part}"
        for k in range(num_layers):
            inside = {"norm1": norm1, "norm2": norm2, "mlp.fc1": fc1, "mlp.fc2": fc2}
            inside |= {"attn.qkv": "attn.qkv", "attn.proj": "attn.proj"}
            for ours, theirs in inside.items():
                names[f"blocks.{k}.{ours}.{part}"] = f"{block.format(k)}{theirs}.{part}"
    for k in range(num_layers):
        for axis in "hw":
            names[f"blocks.{k}.attn.rel_pos_{axis}"] = f"{block.format(k)}attn.rel_pos_{axis}"
    for ours, theirs in enumerate(neck):
        for part in ("weight", "bias")[: 1 + ours % 2]:
            names[f"neck.{ours}.{part}"] = f"{prefix}{theirs}.{part}"
    return names


def small(config=SMALL, seed=0):
    torch.manual_seed(seed)
    encoder = SamEncoder(config)
    for name, parameter in encoder.named_parameters():
        if "pos" in name:
            nn.init.normal_(parameter)
    return encoder.eval()


def published(layout):
    encoder = small()
    names = published_names(layout)
    state = {names[key]: value for key, value in encoder.state_dict().items()}
    return encoder, state | {name: torch.zeros(3) for name in BESIDE[layout]}


@pytest.mark.parametrize("layout", OF_BLOCK)
@pytest.mark.parametrize("name", ["sam", "ultrasam"])
def test_each_published_layout_gives_the_same_network(layout, name, tmp_path):
    encoder, state = published(layout)
    content = {"meta": {"epoch": 1}, "state_dict": state} if layout == "mmdet" else state
    torch.save(content, tmp_path / "sam.pth")
    loaded = load_published(tmp_path / "sam.pth", name)
    assert loaded.encoder.config == SMALL
    images = torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        assert torch.equal(loaded.encoder(images), encoder(images))
    assert set(loaded.report.dropped) == set(BESIDE[layout])
    assert set(loaded.report.dropped.values()) == {"prompts and mask decoder, no part of the image encoder"}
    assert set(loaded.report.loaded) == set(encoder.state_dict())
    assert loaded.input_spec == IMAGENET_INPUT.model_copy(update={"image_px": 96})


def test_the_full_size_has_the_published_number_of_parameters():
    # transformers' SamVisionModel(SamVisionConfig()), SAM's ViT-B, has 89,670,912.
    with torch.device("meta"):
        full = SamEncoder(SamConfig(dim=768, num_layers=12, num_heads=12, image_px=1024))
    assert sum(p.numel() for p in full.parameters()) == 89_670_912
    shapes = {name: list(tensor.shape) for name, tensor in full.state_dict().items()}
    assert shapes["pos_embed"] == [1, 64, 64, 768]
    assert [shapes[f"blocks.{k}.attn.rel_pos_h"] for k in (0, 2)] == [[27, 64], [127, 64]]


def test_a_missing_a_strange_and_a_misshapen_tensor_are_named(tmp_path):
    _, state = published("mmdet")
    del state["backbone.layers.2.ffn.layers.1.bias"]
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"1 of its 51 tensors.*first missing: blocks\.2\.mlp\.fc2\.bias"):
        load_published(tmp_path / "a.pth", "ultrasam")
    _, state = published("mmdet")
    torch.save(state | {"backbone.adapter.weight": torch.zeros(1)}, tmp_path / "b.pth")
    with pytest.raises(WeightsError, match=r"1 are left over \(first left over: adapter\.weight\)"):
        load_published(tmp_path / "b.pth", "ultrasam")
    _, state = published("mmdet")
    state["backbone.layers.0.attn.rel_pos_w"] = torch.zeros(5, 12)
    torch.save(state, tmp_path / "c.pth")
    with pytest.raises(WeightsError, match=r"blocks\.0\.attn\.rel_pos_w has shape \[5, 12\], SAM"):
        load_published(tmp_path / "c.pth", "ultrasam")


def test_a_file_of_another_kind_says_what_it_lacks(tmp_path):
    torch.save({"cls_token": torch.zeros(1, 1, 8)}, tmp_path / "vit.pth")
    with pytest.raises(WeightsError, match="is no SAM image encoder: has no pos_embed") as caught:
        load_published(tmp_path / "vit.pth", "sam")
    assert "UltraSam.pth" in caught.value.hint


def test_positions_are_resampled_to_another_input_and_said_so(tmp_path):
    torch.save(published("segment-anything")[1], tmp_path / "sam.pth")
    loaded = load_published(tmp_path / "sam.pth", "sam", image_px=128)
    assert loaded.input_spec.image_px == 128
    assert loaded.report.resized == {
        "pos_embed": "positions 6x6 -> 8x8",
        "blocks.1.attn.rel_pos_h": "relative positions 6x6 -> 8x8",
        "blocks.1.attn.rel_pos_w": "relative positions 6x6 -> 8x8",
    }
    with torch.no_grad():
        assert loaded.encoder(torch.rand(1, 3, 128, 128)).shape == (1, 1 + 64, 8)
    with pytest.raises(SettingError, match="image_px=100 is not a multiple of patch_px=16"):
        load_published(tmp_path / "sam.pth", "sam", image_px=100)


def test_relative_positions_are_resampled_along_a_line():
    # A ramp of 11 distances stays a ramp over 15: the ends are held, the middle keeps its number.
    tensors = small().state_dict()
    tensors["blocks.1.attn.rel_pos_h"] = torch.arange(11.0)[:, None].expand(11, 12)
    resample_sam(tensors, SMALL, SMALL.model_copy(update={"image_px": 128}))
    ramp = tensors["blocks.1.attn.rel_pos_h"][:, 0]
    assert ramp[7] == pytest.approx(5)
    torch.testing.assert_close(ramp[2:-1].diff(), torch.full((11,), 11 / 15))


def test_relative_positions_by_hand():
    # Two places side by side, one head of width 1: q = k = v = x, proj = identity. The distance to the right
    # has the vector 3, all else 0. Place 0 asks with q=1: scores 1*1 + 1*3*0 = 1 for itself (distance 0),
    # for place 1 (distance -1, the first row) 1*2 + 1*3 = 5.
    attend = RelativeAttention(1, 1, (1, 2))
    with torch.no_grad():
        attend.qkv.weight.fill_(1.0)
        attend.qkv.bias.zero_()
        attend.proj.weight.fill_(1.0)
        attend.proj.bias.zero_()
        attend.rel_pos_w.copy_(torch.tensor([[3.0], [0.0], [0.0]]))
        out = attend(torch.tensor([[[[1.0], [2.0]]]]))
    first = torch.tensor([1.0, 5.0]).softmax(0) @ torch.tensor([1.0, 2.0])
    second = torch.tensor([2.0, 4.0]).softmax(0) @ torch.tensor([1.0, 2.0])
    torch.testing.assert_close(out.flatten(), torch.stack([first, second]))


def test_windows_do_not_see_each_other():
    torch.manual_seed(0)
    attend = RelativeAttention(8, 2, (2, 2))
    x = torch.rand(1, 4, 6, 8)
    with torch.no_grad():
        whole = in_windows(attend, x, 2)
        assert torch.allclose(whole[:, 2:, 4:], attend(x[:, 2:, 4:]), atol=1e-6)
        other = x.clone()
        other[:, :2] = 0
        assert torch.equal(in_windows(attend, other, 2)[:, 2:], whole[:, 2:])


def test_a_batch_without_gradients_is_that_with_gradients():
    encoder, images = small(), torch.rand(3, 3, 96, 96)
    with torch.no_grad():
        without = encoder(images)
    torch.testing.assert_close(without, encoder(images).detach())


def test_images_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"images are \(3, 80, 80\), the network takes \(3, 96, 96\)"):
        small()(torch.rand(1, 3, 80, 80))


def test_places_make_a_map_and_layers_begin_at_the_pixels():
    encoder = small()
    with torch.no_grad():
        assert encoder.feature_map(torch.rand(1, 3, 96, 96)).shape == (1, 8, 6, 6)
    layers = [encoder.layer_of(name) for name, _ in encoder.named_parameters()]
    assert sorted({layer for layer in layers if layer is not None}) == [0, 1, 2, 3]
    assert (encoder.layer_of("pos_embed"), encoder.layer_of("neck.0.weight")) == (0, None)


def test_a_record_builds_the_same_shape():
    again = build_encoder(encoder_record(small()))
    assert again.config == SMALL


def test_stochastic_depth_reaches_the_blocks():
    encoder = small(SMALL.model_copy(update={"drop_path": 0.9})).train()
    images = torch.rand(4, 3, 96, 96)
    torch.manual_seed(0)
    first = encoder(images)
    torch.manual_seed(1)
    assert not torch.equal(first, encoder(images))
