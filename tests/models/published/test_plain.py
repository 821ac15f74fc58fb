import pytest
import torch
from torch import nn

from usfmae.base.errors import WeightsError
from usfmae.base.input_spec import IMAGENET_INPUT
from usfmae.models.encoders import build_encoder, encoder_record
from usfmae.models.published.plain import PlainConfig, PlainEncoder
from usfmae.models.published_weights import CLIP_INPUT, load_published

CLIP = PlainConfig(
    dim=64, num_layers=2, num_heads=1, patch_px=14, image_px=56, mlp_dim=256, pre_norm=True, norm_eps=1e-5
)
DINO = PlainConfig(
    dim=64,
    num_layers=2,
    num_heads=1,
    patch_px=14,
    image_px=56,
    mlp_dim=256,
    layer_scale=True,
    num_registers=4,
)
CLIP_TOP = {
    "cls_token": "class_embedding",
    "pos_embed": "positional_embedding",
    "patch_embed.proj.weight": "conv1.weight",
    "norm_pre.weight": "ln_pre.weight",
    "norm_pre.bias": "ln_pre.bias",
    "norm.weight": "ln_post.weight",
    "norm.bias": "ln_post.bias",
}
CLIP_BLOCK = {
    "norm1.weight": "ln_1.weight",
    "norm1.bias": "ln_1.bias",
    "attn.qkv.weight": "attn.in_proj_weight",
    "attn.qkv.bias": "attn.in_proj_bias",
    "attn.proj.weight": "attn.out_proj.weight",
    "attn.proj.bias": "attn.out_proj.bias",
    "norm2.weight": "ln_2.weight",
    "norm2.bias": "ln_2.bias",
    "mlp.fc1.weight": "mlp.c_fc.weight",
    "mlp.fc1.bias": "mlp.c_fc.bias",
    "mlp.fc2.weight": "mlp.c_proj.weight",
    "mlp.fc2.bias": "mlp.c_proj.bias",
}
CLIP_BESIDE = {
    "visual.proj": "projection onto the space of texts",
    "positional_embedding": "text tower of CLIP",
    "text_projection": "text tower of CLIP",
    "logit_scale": "text tower of CLIP",
    "token_embedding.weight": "text tower of CLIP",
    "ln_final.bias": "text tower of CLIP",
    "transformer.resblocks.0.ln_1.weight": "text tower of CLIP",
}


def small(config):
    torch.manual_seed(0)
    encoder = PlainEncoder(config)
    for name, parameter in encoder.named_parameters():
        if "token" in name or "pos" in name or "gamma" in name:
            nn.init.normal_(parameter)
    return encoder.eval()


def clip_name(name):
    if name in CLIP_TOP:
        return "visual." + CLIP_TOP[name]
    _, number, inside = name.split(".", 2)
    return f"visual.transformer.resblocks.{number}.{CLIP_BLOCK[inside]}"


def fetalclip():
    """An encoder, and its state dict as open_clip names and shapes it, with the text tower beside."""
    encoder = small(CLIP)
    state = {clip_name(name): tensor for name, tensor in encoder.state_dict().items()}
    state["visual.class_embedding"] = state["visual.class_embedding"].flatten()
    state["visual.positional_embedding"] = state["visual.positional_embedding"][0]
    return encoder, state | {name: torch.zeros(3) for name in CLIP_BESIDE}


@pytest.mark.parametrize("nested", [None, "state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_fetalclips_vision_tower_loads_and_its_text_tower_is_named(tmp_path, nested, prefix):
    encoder, state = fetalclip()
    content = {prefix + name: tensor for name, tensor in state.items()}
    content = {"epoch": 20, "name": "run", nested: content} if nested else content
    torch.save(content, tmp_path / "FetalCLIP_weights.pt")
    loaded = load_published(tmp_path / "FetalCLIP_weights.pt", "fetalclip")
    assert loaded.encoder.config == CLIP
    images = torch.rand(2, 3, 56, 56)
    with torch.no_grad():
        assert torch.equal(loaded.encoder(images), encoder(images))
    assert loaded.report.dropped == CLIP_BESIDE
    assert set(loaded.report.loaded) == set(encoder.state_dict())
    assert loaded.input_spec == CLIP_INPUT.model_copy(update={"image_px": 56})


def test_fetalclips_full_size_is_that_of_vit_l_14():
    # open_clip's ViT-L-14 has 303,966,208 parameters in its vision tower, 1,024 x 768 of them the projection.
    with torch.device("meta"):
        shape = {"dim": 1024, "num_layers": 24, "num_heads": 16, "mlp_dim": 4096, "image_px": 224}
        full = PlainEncoder(PlainConfig(**CLIP.model_dump() | shape))
    assert sum(p.numel() for p in full.parameters()) == 303_966_208 - 1024 * 768
    assert list(full.pos_embed.shape) == [1, 257, 1024]


def test_a_clip_without_a_tensor_or_with_a_strange_one_is_refused(tmp_path):
    _, state = fetalclip()
    del state["visual.transformer.resblocks.1.attn.in_proj_bias"]
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=r"1 of its 31 tensors.*blocks\.1\.attn\.qkv\.bias"):
        load_published(tmp_path / "a.pt", "fetalclip")
    _, state = fetalclip()
    torch.save(state | {"visual.attn_pool.query": torch.zeros(1)}, tmp_path / "b.pt")
    with pytest.raises(WeightsError, match=r"1 are left over \(first left over: attn_pool\.query\)"):
        load_published(tmp_path / "b.pt", "fetalclip")
    _, state = fetalclip()
    state["visual.ln_post.weight"] = torch.ones(63)
    torch.save(state, tmp_path / "c.pt")
    with pytest.raises(WeightsError, match=r"norm\.weight has shape \[63\], CLIP vision tower has \[64\]"):
        load_published(tmp_path / "c.pt", "fetalclip")


def hugging_face_dino(state):
    """Names of transformers 4, in which the published files are."""
    renamed = {}
    for name, tensor in state.items():
        if not name.startswith("blocks."):
            top = {"pos_embed": "position_embeddings", "norm.weight": "", "norm.bias": ""}.get(name, name)
            top = top.replace("patch_embed.proj", "patch_embeddings.projection")
            renamed[f"embeddings.{top}" if top else name.replace("norm", "layernorm")] = tensor
            continue
        _, number, inside = name.split(".", 2)
        block = f"encoder.layer.{number}."
        if inside.startswith("attn.qkv"):
            for word, third in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                renamed[block + inside.replace("attn.qkv", f"attention.attention.{word}")] = third
            continue
        for ours, theirs in (
            ("attn.proj", "attention.output.dense"),
            ("ls1.gamma", "layer_scale1.lambda1"),
            ("ls2.gamma", "layer_scale2.lambda1"),
            ("mlp.w12", "mlp.weights_in"),
            ("mlp.w3", "mlp.weights_out"),
        ):
            inside = inside.replace(ours, theirs)
        renamed[block + inside] = tensor
    return renamed | {"embeddings.mask_token": torch.zeros(1, 64)}


def in_training(state):
    """As DINOv2's training program saves the teacher: blocks in chunks, heads beside."""
    inside = {
        "backbone." + name.replace("blocks.0.", "blocks.0.0.").replace("blocks.1.", "blocks.1.1."): tensor
        for name, tensor in state.items()
    }
    return {
        "teacher": inside
        | {"backbone.mask_token": torch.zeros(1, 64), "dino_head.mlp.0.weight": torch.zeros(3)}
    }


LAYOUTS = {
    "facebook": lambda state: state | {"mask_token": torch.zeros(1, 64)},
    "hugging-face": hugging_face_dino,
    "in-training": in_training,
}


@pytest.mark.parametrize("changes", [{}, {"num_registers": 0}, {"mlp": "swiglu", "mlp_dim": 176}])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_of_dinov2_gives_the_same_network(tmp_path, layout, changes):
    encoder = small(DINO.model_copy(update=changes))
    torch.save(LAYOUTS[layout](encoder.state_dict()), tmp_path / "dino.pth")
    loaded = load_published(tmp_path / "dino.pth", "dinov2", image_px=56)
    assert loaded.encoder.config == encoder.config
    images = torch.rand(2, 3, 56, 56)
    with torch.no_grad():
        assert torch.equal(loaded.encoder(images), encoder(images))
    assert "stands for hidden patches in pretraining" in loaded.report.dropped.values()
    assert loaded.input_spec == IMAGENET_INPUT.model_copy(update={"image_px": 56})


def test_dinov2_sees_224_px_unless_told_otherwise(tmp_path):
    torch.save(small(DINO).state_dict(), tmp_path / "dino.pth")
    loaded = load_published(tmp_path / "dino.pth", "dinov2")
    assert loaded.input_spec == IMAGENET_INPUT
    assert loaded.report.resized == {"pos_embed": "positions 4x4 -> 16x16"}
    with torch.no_grad():
        assert loaded.encoder(torch.rand(1, 3, 224, 224)).shape == (1, 257, 64)


@pytest.mark.parametrize(("dim", "layers", "number"), [(384, 12, 22_056_576), (768, 12, 86_580_480)])
def test_dinov2s_full_sizes_have_the_published_numbers_of_parameters(dim, layers, number):
    # facebookresearch/dinov2's ViT-S/14 and ViT-B/14 at 518 px; the mask token is not an encoder's.
    with torch.device("meta"):
        shape = {"dim": dim, "num_layers": layers, "num_heads": dim // 64, "mlp_dim": 4 * dim}
        full = PlainEncoder(PlainConfig(**DINO.model_dump() | shape | {"image_px": 518, "num_registers": 0}))
    assert sum(p.numel() for p in full.parameters()) == number - dim


def test_a_dinov2_without_one_layer_scale_is_refused(tmp_path):
    state = small(DINO).state_dict()
    del state["blocks.1.ls2.gamma"]
    torch.save(state, tmp_path / "dino.pth")
    with pytest.raises(WeightsError, match=r"is no DINOv2: 1 of its .*first missing: blocks\.1\.ls2\.gamma"):
        load_published(tmp_path / "dino.pth", "dinov2")


def test_query_without_key_is_left_over(tmp_path):
    state = hugging_face_dino(small(DINO).state_dict())
    del state["encoder.layer.0.attention.attention.key.weight"]
    torch.save(state, tmp_path / "dino.pth")
    with pytest.raises(
        WeightsError, match=r"1 of its .* missing and 2 are left over.*blocks\.0\.attn\.qkv\.weight"
    ):
        load_published(tmp_path / "dino.pth", "dinov2")


def test_registers_are_left_out_and_take_part():
    encoder, images = small(DINO), torch.rand(1, 3, 56, 56)
    with torch.no_grad():
        tokens = encoder(images)
        assert tokens.shape == (1, 17, 64)
        assert torch.equal(encoder.feature_map(images).flatten(2)[0, :, 3], tokens[0, 4])
        nn.init.zeros_(encoder.register_tokens)
        assert not torch.allclose(encoder(images), tokens)


def test_layers_are_counted_from_the_pixels_up():
    encoder = small(DINO.model_copy(update={"pre_norm": True}))
    layers = {name: encoder.layer_of(name) for name, _ in encoder.named_parameters()}
    zero = ("register_tokens", "pos_embed", "cls_token", "patch_embed.proj.weight", "norm_pre.weight")
    assert {layers[name] for name in zero} == {0}
    assert (layers["blocks.1.ls1.gamma"], layers["norm.bias"]) == (2, None)


def test_a_record_builds_the_same_shape():
    for config in (CLIP, DINO):
        assert build_encoder(encoder_record(small(config))).config == config


def test_stochastic_depth_reaches_the_blocks():
    encoder, images = small(DINO.model_copy(update={"drop_path": 0.9})).train(), torch.rand(4, 3, 56, 56)
    torch.manual_seed(0)
    first = encoder(images)
    torch.manual_seed(1)
    assert not torch.equal(first, encoder(images))


TINY = PlainConfig(dim=32, num_layers=2, num_heads=2, patch_px=16, image_px=64, mlp_dim=128)


def test_tinyusfms_student_loads_with_heads_of_16(tmp_path):
    encoder = small(TINY)
    state = {"model." + name: tensor for name, tensor in encoder.state_dict().items()}
    state |= {"model.head.weight": torch.zeros(2, 32), "teacher.norm.weight": torch.zeros(3)}
    torch.save(state, tmp_path / "TinyUSFM.pth")
    loaded = load_published(tmp_path / "TinyUSFM.pth", "tinyusfm")
    assert loaded.encoder.config == TINY
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded.encoder(images), encoder(images))
    assert loaded.report.dropped == {
        "teacher.norm.weight": "of distillation, no part of the student",
        "head.weight": "classifier of another task",
    }
    assert loaded.input_spec == IMAGENET_INPUT.model_copy(update={"image_px": 64})


def test_tinyusfms_full_size_has_its_5_5_million_parameters():
    with torch.device("meta"):
        shape = {"dim": 192, "num_layers": 12, "num_heads": 12, "mlp_dim": 768, "image_px": 224}
        full = PlainEncoder(PlainConfig(**TINY.model_dump() | shape))
    assert sum(p.numel() for p in full.parameters()) == 5_524_416


def test_tinyusfm_without_its_last_norm_is_refused(tmp_path):
    state = {"model." + name: tensor for name, tensor in small(TINY).state_dict().items()}
    del state["model.norm.bias"]
    torch.save(state, tmp_path / "TinyUSFM.pth")
    with pytest.raises(WeightsError, match=r"is no TinyUSFM: 1 of its 30 tensors.*norm\.bias"):
        load_published(tmp_path / "TinyUSFM.pth", "tinyusfm")
