import pytest
import torch
from torch import nn

from usfmae.base.errors import SettingError
from usfmae.engine.optim import OptimConfig, build_optimizer, decays
from usfmae.models.mae import DecoderConfig, MaeConfig, MaskedAutoencoder
from usfmae.models.vit import ViTConfig


def network() -> MaskedAutoencoder:
    return MaskedAutoencoder(
        MaeConfig(
            encoder=ViTConfig(image_px=16, patch_px=8),
            decoder=DecoderConfig(dim=16, num_layers=1, num_heads=2),
        )
    )


def with_layer_decay(module, layer_decay):
    return build_optimizer(
        module,
        OptimConfig(layer_decay=layer_decay),
        layer_of=module.encoder.layer_of,
        encoder_prefix="encoder.",
    )


def test_norms_biases_and_tokens_do_not_decay():
    module = network()
    decaying = {name for name, p in module.named_parameters() if decays(name, p)}
    assert "encoder.blocks.0.attn.qkv.weight" in decaying
    assert "encoder.patch_embed.proj.weight" in decaying
    assert not any(name.endswith(("bias", "cls_token", "mask_token", "pos_embed")) for name in decaying)
    assert not any("norm" in name for name in decaying)


def test_every_trainable_parameter_is_stepped_once_and_positions_never():
    module = network()
    optimizer = with_layer_decay(module, 0.75)
    stepped = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(stepped) == sorted(id(p) for p in module.parameters() if p.requires_grad)
    assert id(module.encoder.pos_embed) not in stepped


def test_layer_decay_by_hand():
    # Twelve blocks: decoder and final norm learn at the full rate, block 11 at 0.5, block 0 at 0.5^12,
    # the embeddings at 0.5^13.
    module = network()
    optimizer = with_layer_decay(module, 0.5)
    scale = {id(p): group["lr_scale"] for group in optimizer.param_groups for p in group["params"]}
    assert scale[id(module.decoder.pred.weight)] == 1
    assert scale[id(module.encoder.norm.weight)] == 1
    assert scale[id(module.encoder.blocks[11].norm1.weight)] == 0.5
    assert scale[id(module.encoder.blocks[0].norm1.weight)] == 0.5**12
    assert scale[id(module.encoder.cls_token)] == 0.5**13


def test_a_head_learns_at_its_own_rate_and_the_encoder_as_before():
    module = network()
    config = OptimConfig(layer_decay=0.5, head_lr_ratio=20)
    optimizer = build_optimizer(module, config, layer_of=module.encoder.layer_of, encoder_prefix="encoder.")
    scale = {id(p): group["lr_scale"] for group in optimizer.param_groups for p in group["params"]}
    assert {scale[id(p)] for p in module.decoder.parameters() if p.requires_grad} == {20}
    assert scale[id(module.encoder.norm.weight)] == 1
    assert scale[id(module.encoder.blocks[11].norm1.weight)] == 0.5
    with pytest.raises(ValueError, match="needs to know where the encoder sits"):
        build_optimizer(module, OptimConfig(head_lr_ratio=20))


def test_a_layer_decay_without_layers_is_refused():
    with pytest.raises(ValueError, match="needs to know the layer"):
        build_optimizer(network(), OptimConfig(layer_decay=0.5))


def test_a_frozen_network_is_refused():
    module = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(SettingError, match="no trainable parameters"):
        build_optimizer(module, OptimConfig())


def test_weight_decay_shrinks_a_matrix_without_gradient_and_leaves_its_bias():
    # AdamW with a zero gradient multiplies a decaying weight by 1 - lr * weight_decay = 1 - 0.1 * 0.5.
    module = nn.Linear(1, 1)
    nn.init.ones_(module.weight)
    nn.init.ones_(module.bias)
    optimizer = build_optimizer(module, OptimConfig(lr_per_256=0.1, weight_decay=0.5))
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert module.weight.item() == pytest.approx(0.95)
    assert module.bias.item() == 1
