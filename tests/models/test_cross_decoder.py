import pytest
import torch
from pydantic import ValidationError
from torch import nn

from usfmae.models.attention import CrossAttention
from usfmae.models.cross_decoder import LayerMix
from usfmae.models.mae import DecoderConfig, MaeConfig, MaskedAutoencoder
from usfmae.models.masking import Hiding, hide_patches, predict_share
from usfmae.models.patches import patchify
from usfmae.models.vit import ViTConfig, start_weights


def crossed(**changes) -> MaskedAutoencoder:
    decoder = DecoderConfig(dim=32, num_layers=2, num_heads=4, kind="cross", **changes)
    network = MaskedAutoencoder(MaeConfig(encoder=ViTConfig(image_px=32, patch_px=8), decoder=decoder))
    start_weights(network, torch.Generator().manual_seed(1))
    return network.eval()


def hiding(batch: int = 2) -> Hiding:
    return hide_patches(batch, 16, hide_ratio=0.75, rng=torch.Generator().manual_seed(0))


def images(batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 1, 32, 32, generator=torch.Generator().manual_seed(2))


def test_cross_attention_is_pytorchs_own():
    ours, theirs = CrossAttention(32, 48, 4), nn.MultiheadAttention(32, 4, kdim=48, vdim=48, batch_first=True)
    with torch.no_grad():
        theirs.q_proj_weight.copy_(ours.q.weight)
        theirs.k_proj_weight.copy_(ours.kv.weight[:32])
        theirs.v_proj_weight.copy_(ours.kv.weight[32:])
        theirs.in_proj_bias.copy_(torch.cat([ours.q.bias, ours.kv.bias]))
        theirs.out_proj.load_state_dict(ours.proj.state_dict())
    asking, memory = torch.randn(2, 5, 32), torch.randn(2, 9, 48)
    torch.testing.assert_close(ours(asking, memory), theirs(asking, memory, memory)[0], atol=1e-5, rtol=1e-5)


def test_a_hidden_patch_is_predicted_the_same_whoever_else_is_asked_for():
    network, chosen = crossed(), hiding()
    everything = network(images(), chosen).prediction
    alone = network(images(), Hiding(chosen.visible, chosen.hidden[:, 3:5])).prediction
    torch.testing.assert_close(alone, everything[:, 3:5])


def test_a_query_carries_the_position_of_its_own_patch():
    network, chosen = crossed(), hiding(1)
    before = network(images(1), chosen).prediction
    with torch.no_grad():
        network.decoder.pos_embed[0, 1 + chosen.hidden[0, 4], 0] += 1  # row 0 is the class token's
    moved = (network(images(1), chosen).prediction - before).abs().amax(dim=2)[0] > 1e-6
    assert moved.nonzero().flatten().tolist() == [4]


def test_the_self_decoder_is_told_by_other_hidden_patches():
    config = MaeConfig(
        encoder=ViTConfig(image_px=32, patch_px=8), decoder=DecoderConfig(dim=32, num_layers=2, num_heads=4)
    )
    network, chosen = MaskedAutoencoder(config).eval(), hiding()
    alone = network(images(), Hiding(chosen.visible, chosen.hidden[:, 3:5])).prediction
    assert not torch.allclose(alone, network(images(), chosen).prediction[:, 3:5])


def test_hidden_pixels_do_not_reach_the_prediction_and_visible_ones_do():
    network, chosen = crossed(), hiding()
    before = network(images(), chosen).prediction
    for part, same in ((chosen.hidden, True), (chosen.visible, False)):
        patches = patchify(images(), 8).scatter(1, part[:, :, None].expand(-1, -1, 64), 3.0)
        changed = patches.reshape(2, 4, 4, 1, 8, 8).permute(0, 3, 1, 4, 2, 5).reshape(2, 1, 32, 32)
        assert torch.equal(network(changed, chosen).prediction, before) == same


@pytest.mark.parametrize("layers_seen", [1, 3, 12])
def test_every_parameter_learns(layers_seen):
    # A parameter without gradient would also stop distributed training.
    network, chosen = crossed(layers_seen=layers_seen), hiding()
    network(images(), chosen).loss.backward()
    idle = [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None]
    assert idle == []
    assert (network.decoder.mix is None) == (layers_seen == 1)


def test_a_mix_by_hand():
    # Two layers of ones and threes, weights (1, 1) and (2, -1): sums 4 and -1 before the norm; a constant
    # vector norms to zero, so the values are looked at with the norm taken out.
    mix = LayerMix(2, 2, 4, norm_eps=1e-6)
    mix.norms = nn.ModuleList(nn.Identity() for _ in range(2))
    with torch.no_grad():
        mix.weights.weight.copy_(torch.tensor([[1.0, 1.0], [2.0, -1.0]]))
    first, second = mix([torch.ones(1, 3, 4), 3 * torch.ones(1, 3, 4)])
    assert first.unique().tolist() == [4]
    assert second.unique().tolist() == [-1]


def test_layers_are_evenly_spaced_and_end_with_what_forward_gives():
    network = crossed().encoder
    every = network.layers(images(), seen=12)
    three = network.layers(images(), seen=3)
    assert (len(every), len(three)) == (12, 3)
    assert torch.equal(three[0], every[3])
    assert torch.equal(three[1], every[7])
    assert torch.equal(three[2], network(images()))


def test_fewer_predictions_are_a_subset_with_the_loss_of_the_subset():
    network, chosen = crossed(), hiding()
    part = predict_share(chosen, 0.5, torch.rand(2, 12))
    assert network(images(), part).prediction.shape == (2, 6, 64)
    pieces = [Hiding(part.visible, part.hidden[:, k : k + 1]) for k in range(6)]
    mean = torch.stack([network(images(), piece).loss for piece in pieces]).mean()
    torch.testing.assert_close(network(images(), part).loss, mean)


def test_decoders_that_cannot_be_are_refused():
    with pytest.raises(ValidationError, match="layers_seen=3 needs kind=cross"):
        DecoderConfig(layers_seen=3)
    with pytest.raises(ValidationError, match=r"decoder.layers_seen=13: the encoder has 12 layers"):
        MaeConfig(decoder=DecoderConfig(kind="cross", layers_seen=13))
