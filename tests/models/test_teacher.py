import pytest
import torch
from pydantic import ValidationError

from usfmae.models.cnn.efficientnet_lite import fold_norms
from usfmae.models.encoders import CnnConfig, build_cnn
from usfmae.models.mae import Context, DecoderConfig, MaeConfig, MaskedAutoencoder
from usfmae.models.masking import Hiding, hide_patches
from usfmae.models.teacher import Targets, TeacherConfig, TeacherHeads, make_targets, standardised
from usfmae.models.vit import ViTConfig, start_weights


def taught(*, kind: str = "self", cross: bool = False, clip: bool = False, **changes) -> MaskedAutoencoder:
    network = MaskedAutoencoder(
        MaeConfig(
            encoder=ViTConfig(image_px=32, patch_px=8),
            decoder=DecoderConfig(dim=32, num_layers=2, num_heads=4, kind="cross" if cross else "self"),
            context="clip" if clip else "none",
            teacher=TeacherConfig(kind=kind, **changes),
        )
    )
    start_weights(network, torch.Generator().manual_seed(1))
    return network


def images(seed: int = 2) -> torch.Tensor:
    return torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(seed))


def hiding(seed: int = 0) -> Hiding:
    return hide_patches(2, 16, hide_ratio=0.75, rng=torch.Generator().manual_seed(seed))


def drawn(*, dim: int = 192, pooled: bool = False, scored=None) -> Targets:
    generator = torch.Generator().manual_seed(3)
    places = torch.randn(2, 16, dim, generator=generator)
    vector = torch.randn(2, dim, generator=generator) if pooled else None
    return Targets(places, vector, scored)


def test_a_target_by_hand():
    # A map of two channels on 1 x 2 places: (3, 1) and (5, 5). The first has mean 2 and variance 1, so it
    # becomes (1, -1); a place whose channels are all alike becomes zeros. The vector (0, 4) becomes (-1, 1).
    places = torch.tensor([[[[3.0, 5.0]], [[1.0, 5.0]]]])
    targets = make_targets(places, torch.tensor([[0.0, 4.0]]), grid=(1, 2))
    torch.testing.assert_close(targets.places, torch.tensor([[[1.0, -1.0], [0.0, 0.0]]]), atol=1e-5, rtol=0)
    torch.testing.assert_close(targets.pooled, torch.tensor([[-1.0, 1.0]]), atol=1e-5, rtol=0)


def test_a_map_of_another_stride_is_averaged_or_enlarged_before_it_is_standardised():
    # 4 x 4 places to 2 x 2: weights (3, 3, 1) / 7 over rows and columns 0, 1, 2 for the patch in the corner,
    # so of numbers 4 i + j it gets 5/7 * 5 = 25/7.
    fine = torch.zeros(1, 3, 4, 4)
    fine[0, 0] = torch.arange(16.0).reshape(4, 4)
    fine[0, 1] = 1.0
    targets = make_targets(fine, None, grid=(2, 2))
    corner = standardised(torch.tensor([25 / 7, 1.0, 0.0]))
    torch.testing.assert_close(targets.places[0, 0], corner, atol=1e-5, rtol=1e-5)
    # 1 x 2 to 1 x 4: centres at -1/4, 1/4, 3/4 and 5/4 of the way between the two.
    coarse = torch.tensor([[[[0.0, 4.0]], [[1.0, 1.0]], [[0.0, 0.0]]]])
    enlarged = [standardised(torch.tensor([first, 1.0, 0.0])) for first in (0.0, 1.0, 3.0, 4.0)]
    targets = make_targets(coarse, None, grid=(1, 4))
    torch.testing.assert_close(targets.places[0], torch.stack(enlarged), atol=1e-5, rtol=1e-5)


def test_an_error_by_hand_at_visible_and_hidden_patches():
    # Zeros are predicted. Patch 1 is visible, 0 is hidden, 2 and 3 are not asked for: over the first two
    # (1 + 9 + 4 + 4) / 4 = 4.5. With a weight of 3 for patch 0 it is (3 * 5 + 4) / 4 = 4.75.
    heads = TeacherHeads(TeacherConfig(kind="self"), decoder_dim=4, encoder_dim=2)
    for parameter in heads.parameters():
        torch.nn.init.zeros_(parameter)
    places = torch.tensor([[[1.0, 3.0], [2.0, 2.0], [70.0, 0.0], [0.0, 90.0]]])
    seen = Hiding(torch.tensor([[1]]), torch.tensor([[0]]))
    tokens = torch.zeros(1, 2, 4), torch.zeros(1, 2, 2)
    assert heads(*tokens, seen, Targets(places))["features"].item() == pytest.approx(4.5)
    weights = torch.tensor([[3.0, 1.0, 1.0, 1.0]])
    assert heads(*tokens, seen, Targets(places, scored=weights))["features"].item() == pytest.approx(4.75)


def test_tokens_that_are_the_targets_of_visible_and_then_of_hidden_patches_have_no_error():
    heads, chosen = TeacherHeads(TeacherConfig(kind="self", dim=5), decoder_dim=5, encoder_dim=2), hiding()
    torch.nn.init.eye_(heads.places.weight)
    torch.nn.init.zeros_(heads.places.bias)
    weights = torch.rand(2, 16, generator=torch.Generator().manual_seed(4))
    targets = drawn(dim=5, scored=weights)
    rows = torch.cat([chosen.visible, chosen.hidden], dim=1)
    decoded = torch.stack([own[order] for own, order in zip(targets.places, rows, strict=True)])
    assert heads(decoded, torch.zeros(2, 5, 2), chosen, targets)["features"].item() == 0


def test_the_loss_is_the_weighted_sum_of_its_parts():
    network = taught(weight=2.0, pixel_weight=0.5, pooled_weight=3.0)
    output = network(images(), hiding(), targets=drawn(pooled=True))
    parts = {name: part.item() for name, part in output.parts.items()}
    assert list(parts) == ["pixels", "features", "pooled"]
    wanted = 0.5 * parts["pixels"] + 2 * parts["features"] + 3 * parts["pooled"]
    assert output.loss.item() == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("clip", [False, True])
def test_pixels_are_predicted_as_they_are_without_targets(cross, clip):
    network, context = taught(cross=cross, clip=clip).eval(), None
    if clip:
        context = Context(images(5), hiding(9).visible)
    with torch.no_grad():
        alone = network(images(), hiding(), context)
        beside = network(images(), hiding(), context, drawn())
    torch.testing.assert_close(beside.prediction, alone.prediction, atol=1e-5, rtol=1e-5)
    assert alone.parts == {}
    torch.testing.assert_close(beside.parts["pixels"], alone.loss)


@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("clip", [False, True])
def test_each_patch_is_told_its_own_target(cross, clip):
    # A decoder that gives each token its position lets the head's input tell the patch.
    network, chosen = taught(cross=cross, clip=clip).eval(), hiding()
    context = Context(images(5), hiding(9).visible) if clip else None
    kept = {}
    network.decoder.heads.register_forward_hook(lambda _, given, __: kept.update(tokens=given[0]))
    with torch.no_grad():
        network.decoder.mask_token.zero_()
        if not cross:
            for parameter in network.decoder.embed.parameters():
                parameter.zero_()
            if clip:
                network.decoder.frame_token.zero_()
        for block in network.decoder.blocks:
            for layer in (block.cross_attn if cross else block.attn, block.mlp):
                for parameter in layer.parameters():
                    parameter.zero_()
        network(images(), chosen, context, drawn())
        positions = network.decoder.norm(network.decoder.pos_embed[0, 1:])
    rows = torch.cat([chosen.visible, chosen.hidden], dim=1)
    torch.testing.assert_close(kept["tokens"], positions[rows])


@pytest.mark.parametrize("source", ["class", "mean"])
def test_the_vector_of_an_image_is_predicted_from_the_encoder(source):
    network = taught(pooled_weight=1.0, weight=0.0, pooled_from=source)
    chosen, targets = hiding(), drawn(pooled=True)
    tokens = network.encoder(images(), visible=chosen.visible)
    seen = tokens[:, 0] if source == "class" else tokens[:, 1:].mean(dim=1)
    wanted = (network.decoder.heads.pooled(seen) - targets.pooled).square().mean()
    output = network(images(), chosen, targets=targets)
    torch.testing.assert_close(output.parts["pooled"], wanted)
    assert "features" not in output.parts


def test_parts_of_weight_0_push_nothing_and_leave_no_parameter_without_a_gradient():
    network = taught(pixel_weight=0.0)
    network(images(), hiding(), targets=drawn()).loss.backward()
    assert (network.decoder.pred.weight.grad == 0).all()
    assert all(p.grad is not None for p in network.parameters() if p.requires_grad)


def test_a_black_image_that_counts_nowhere_adds_nothing():
    network = taught(pixel_weight=0.0)
    output = network(images(), hiding(), targets=drawn(scored=torch.zeros(2, 16)))
    assert output.parts["features"].item() == 0


def test_training_without_targets_and_targets_without_a_teacher_are_refused():
    with pytest.raises(ValueError, match="need each other"):
        taught()(images(), hiding())
    taught().eval()(images(), hiding())
    with pytest.raises(ValueError, match="need each other"):
        taught(kind="none")(images(), hiding(), targets=drawn())


def test_the_width_of_another_network_must_be_known():
    with pytest.raises(ValueError, match="must be read off it before a network is built"):
        taught(kind="efficientnet-lite0")
    heads = taught(kind="efficientnet-lite0", dim=112, pooled_weight=1.0, pooled_dim=7).decoder.heads
    assert (heads.places.out_features, heads.pooled.out_features) == (112, 7)


@pytest.mark.parametrize("name", ["weight", "pixel_weight", "pooled_weight"])
def test_weights_are_not_negative(name):
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        TeacherConfig(kind="self", **{name: -1.0})


def test_the_levels_of_a_network_end_with_its_last_map():
    lite, seen = build_cnn(CnnConfig(name="efficientnet-lite0")).eval(), torch.rand(1, 1, 64, 96)
    with torch.no_grad():
        levels = list(lite.levels(seen))
        last = lite.last_map(seen)
    assert [(stride, tuple(level.shape)) for stride, level in levels] == [
        (2, (1, 16, 32, 48)), (4, (1, 24, 16, 24)), (8, (1, 40, 8, 12)), (16, (1, 112, 4, 6)),
        (32, (1, 1280, 2, 3)),
    ]  # fmt: skip
    torch.testing.assert_close(levels[-1][1], last)
    plain = build_cnn(CnnConfig(name="vgg-19")).eval()
    with torch.no_grad():
        ((stride, level),) = plain.levels(seen)
        assert torch.equal(level, plain.last_map(seen))
    assert stride == 32


def test_folded_norms_change_nothing_but_rounding_and_leave_none_behind():
    lite = build_cnn(CnnConfig(name="efficientnet-lite0", channels=3)).eval()
    generator = torch.Generator().manual_seed(0)
    for module in lite.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.weight, module.running_var):
                tensor.data.uniform_(0.5, 1.5, generator=generator)
            for tensor in (module.bias, module.running_mean):
                tensor.data.normal_(0, 0.3, generator=generator)
    seen = torch.randn(1, 3, 66, 96, generator=generator)
    with torch.no_grad():
        before = list(lite.levels(seen))
        fold_norms(lite)
        after = list(lite.levels(seen))
    for (_, one), (_, two) in zip(before, after, strict=True):
        assert (one - two).abs().max() < 1e-4 * one.abs().max()
    assert not [module for module in lite.modules() if isinstance(module, torch.nn.BatchNorm2d)]
