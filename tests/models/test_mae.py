import json
import sys
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from usfmae.models.losses import hidden_patch_loss, patch_moments
from usfmae.models.mae import Context, DecoderConfig, MaeConfig, MaskedAutoencoder
from usfmae.models.masking import Hiding, hide_patches
from usfmae.models.patches import patchify
from usfmae.models.vit import ViTConfig, start_weights

GOLDEN = Path(__file__).parent.parent / "golden"
sys.path.insert(0, str(GOLDEN))
import mae_inputs as given  # noqa: E402


def small(normalised: bool = True, channels: int = 1) -> MaskedAutoencoder:
    network = MaskedAutoencoder(
        MaeConfig(
            encoder=ViTConfig(image_px=32, patch_px=8, channels=channels),
            decoder=DecoderConfig(dim=32, num_layers=2, num_heads=4),
            normalised_pixels=normalised,
        )
    )
    start_weights(network, torch.Generator().manual_seed(1))
    return network.eval()


def hiding(seed: int = 0, batch: int = 2) -> Hiding:
    return hide_patches(batch, 16, hide_ratio=0.75, rng=torch.Generator().manual_seed(seed))


def test_loss_by_hand():
    # One patch of two pixels (0, 2): mean 1, unbiased variance 2, so it standardises to -0.7071, +0.7071.
    # Predicting zeros is off by 0.7071 twice: the mean square is 0.5. Plain pixels: (0 + 4) / 2 = 2.
    target, prediction = torch.tensor([[[0.0, 2.0]]]), torch.zeros(1, 1, 2)
    assert hidden_patch_loss(prediction, target).item() == pytest.approx(0.5, abs=1e-6)
    assert hidden_patch_loss(prediction, target, normalised=False).item() == pytest.approx(2.0)


def test_a_black_patch_standardises_to_zeros_and_not_to_nan():
    mean, std = patch_moments(torch.zeros(1, 1, 256))
    assert mean.item() == 0
    assert std.item() == pytest.approx(1e-3)
    assert hidden_patch_loss(torch.zeros(1, 1, 256), torch.zeros(1, 1, 256)).item() == 0


@pytest.mark.parametrize("case", given.CASES)
def test_loss_and_gradients_are_those_of_hugging_face(case):
    # tests/golden/mae.json was computed with transformers' ViTMAEForPreTraining by benchmarks/parity.py.
    channels, normalised = given.CASES[case]
    golden = json.loads((GOLDEN / "mae.json").read_text())[case]
    network = MaskedAutoencoder(
        MaeConfig(
            encoder=ViTConfig(image_px=given.IMAGE_PX, patch_px=given.PATCH_PX, channels=channels),
            decoder=DecoderConfig(
                dim=given.DECODER_DIM, num_layers=given.DECODER_LAYERS, num_heads=given.DECODER_HEADS
            ),
            normalised_pixels=normalised,
        )
    )
    network.load_state_dict(given.fill(network.state_dict()))
    order = given.noise().argsort(dim=1)
    chosen = Hiding(order[:, : -given.NUM_HIDDEN], order[:, -given.NUM_HIDDEN :])
    loss = network(given.images(channels), chosen).loss
    assert loss.item() == pytest.approx(golden["loss"], rel=1e-6)
    loss.backward()
    gradients = {
        name.removeprefix("encoder."): p.grad for name, p in network.named_parameters() if p.grad is not None
    }
    assert sorted(gradients) == sorted(golden["gradients"])
    for name, expected in golden["gradients"].items():
        length, *shadows = given.fingerprint(name, gradients[name])
        assert length == pytest.approx(expected[0], rel=1e-5), name
        assert shadows == pytest.approx(expected[1:], abs=1e-5 * expected[0]), name


def test_visible_pixels_are_not_scored():
    network, images, chosen = small(normalised=False), torch.randn(2, 1, 32, 32), hiding()
    output = network(images, chosen)
    target = patchify(images, 8).gather(1, chosen.hidden[:, :, None].expand(-1, -1, 64))
    assert output.loss.item() == pytest.approx((output.prediction - target).square().mean().item(), rel=1e-5)


def test_hidden_pixels_do_not_reach_the_prediction():
    network, images, chosen = small(), torch.randn(2, 1, 32, 32), hiding()
    patches = patchify(images, 8)
    changed = patches.scatter(1, chosen.hidden[:, :, None].expand(-1, -1, 64), 7.0)
    blocks = changed.reshape(2, 4, 4, 1, 8, 8).permute(0, 3, 1, 4, 2, 5).reshape(2, 1, 32, 32)
    assert torch.equal(network(images, chosen).prediction, network(blocks, chosen).prediction)


def test_each_image_is_predicted_on_its_own():
    network, images, chosen = small(), torch.randn(2, 1, 32, 32), hiding()
    both = network(images, chosen).prediction
    alone = network(images[1:], Hiding(chosen.visible[1:], chosen.hidden[1:])).prediction
    torch.testing.assert_close(both[1:], alone)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("normalised", [True, False])
def test_reconstruction_keeps_what_was_visible_and_fills_the_rest(normalised, channels):
    network, images, chosen = small(normalised, channels), torch.randn(2, channels, 32, 32), hiding()
    seen = patchify(network.reconstruct(images, chosen), 8)
    true = patchify(images, 8)
    rows = torch.arange(2)[:, None]
    assert torch.equal(seen[rows, chosen.visible], true[rows, chosen.visible])
    assert not torch.isclose(seen[rows, chosen.hidden], true[rows, chosen.hidden]).all(dim=-1).any()


def test_a_perfect_decoder_reconstructs_the_image():
    # Predict each hidden patch's own normalised pixels by hand: the reconstruction is the image.
    network, images, chosen = small(), torch.randn(2, 1, 32, 32), hiding()
    hidden = patchify(images, 8).gather(1, chosen.hidden[:, :, None].expand(-1, -1, 64))
    mean, std = patch_moments(hidden)
    network.decoder.forward = lambda *_: (hidden - mean) / std
    torch.testing.assert_close(network.reconstruct(images, chosen), images)


def test_a_decoder_that_cannot_be_is_refused():
    with pytest.raises(ValidationError, match="num_heads=5 does not divide dim=64"):
        DecoderConfig(dim=64, num_heads=5)


def test_a_weighted_loss_by_hand():
    # Errors of 4 and 16 (plain pixels off by 2 and 4). Weights (1, 0) leave 4, (1, 3) give (4 + 48) / 4 = 13;
    # an image that counts nowhere adds 0 to the mean over images: (13 + 0) / 2.
    target, prediction = torch.tensor([[[2.0], [4.0]], [[2.0], [4.0]]]), torch.zeros(2, 2, 1)
    weights = torch.tensor([[1.0, 3.0], [0.0, 0.0]])
    loss = hidden_patch_loss(prediction, target, normalised=False, scored=weights)
    assert loss.item() == pytest.approx(6.5)
    one = hidden_patch_loss(prediction[:1], target[:1], normalised=False, scored=torch.tensor([[1.0, 0.0]]))
    assert one.item() == pytest.approx(4.0)
    small_weights = hidden_patch_loss(prediction, target, normalised=False, scored=torch.full((2, 2), 0.1))
    assert small_weights.item() == pytest.approx(10.0)


def test_an_image_without_echo_gives_no_gradient_and_no_nan():
    network, images, chosen = small(), torch.zeros(2, 1, 32, 32), hiding()
    network(images, Hiding(chosen.visible, chosen.hidden, torch.zeros(2, 12))).loss.backward()
    assert all((p.grad == 0).all() for p in network.parameters() if p.grad is not None)


def test_equal_weights_are_the_plain_loss_and_do_not_depend_on_how_a_batch_is_cut():
    network, images, chosen = small(), torch.randn(2, 1, 32, 32), hiding()
    plain = network(images, chosen).loss
    torch.testing.assert_close(
        network(images, Hiding(chosen.visible, chosen.hidden, torch.ones(2, 12))).loss, plain
    )
    weights = torch.randint(0, 2, (2, 12)).float()
    whole = network(images, Hiding(chosen.visible, chosen.hidden, weights)).loss
    parts = [
        network(images[k], Hiding(chosen.visible[k], chosen.hidden[k], weights[k])).loss
        for k in (slice(0, 1), slice(1, 2))
    ]
    torch.testing.assert_close(whole, torch.stack(parts).mean())


def with_context(kind: str, **changes) -> MaskedAutoencoder:
    network = MaskedAutoencoder(
        MaeConfig(
            encoder=ViTConfig(image_px=32, patch_px=8),
            decoder=DecoderConfig(dim=32, num_layers=2, num_heads=4, kind=kind, **changes),
            context="clip",
        )
    )
    start_weights(network, torch.Generator().manual_seed(1))
    return network.eval()


@pytest.mark.parametrize("kind", ["self", "cross"])
def test_another_frame_tells_the_decoder_by_its_visible_patches_alone(kind):
    network, images, chosen = with_context(kind), torch.randn(2, 1, 32, 32), hiding()
    other, seen = torch.randn(2, 1, 32, 32), hiding(seed=5).visible
    told = network(images, chosen, Context(other, seen)).prediction
    assert not torch.allclose(told, network(images, chosen).prediction, atol=1e-3)
    patches = patchify(other, 8)
    hidden = torch.ones(2, 16).scatter_(1, seen, 0).bool()
    patches = torch.where(hidden[:, :, None], 9.0, patches)
    changed = patches.reshape(2, 4, 4, 1, 8, 8).permute(0, 3, 1, 4, 2, 5).reshape(2, 1, 32, 32)
    assert torch.equal(network(images, chosen, Context(changed, seen)).prediction, told)
    assert not torch.allclose(network(images, chosen, Context(other.flip(0), seen)).prediction, told)


@pytest.mark.parametrize(("kind", "layers_seen"), [("self", 1), ("cross", 1), ("cross", 2)])
def test_with_another_frame_every_parameter_learns(kind, layers_seen):
    network, images, chosen = with_context(kind, layers_seen=layers_seen), torch.randn(2, 1, 32, 32), hiding()
    network(images, chosen, Context(torch.randn(2, 1, 32, 32), chosen.visible)).loss.backward()
    assert [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None] == []


def test_a_frame_token_starts_like_a_mask_token():
    token = with_context("self").decoder.frame_token
    assert 0.01 < token.std().item() < 0.03


@pytest.mark.parametrize("kind", ["self", "cross"])
def test_smaller_images_get_the_positions_of_their_own_grid(kind):
    # A network made for 16 x 24 px predicts on such images what one made for 32 px predicts on them.
    def made_for(image_px) -> MaskedAutoencoder:
        decoder = DecoderConfig(dim=32, num_layers=2, num_heads=4, kind=kind)
        config = MaeConfig(encoder=ViTConfig(image_px=image_px, patch_px=8), decoder=decoder)
        network = MaskedAutoencoder(config)
        start_weights(network, torch.Generator().manual_seed(1))
        return network.eval()

    images = torch.randn(2, 1, 16, 24)
    chosen = hide_patches(2, 6, hide_ratio=0.5, rng=torch.Generator().manual_seed(0))
    large, small_one = made_for(32), made_for((16, 24))
    assert torch.equal(large(images, chosen).prediction, small_one(images, chosen).prediction)
    assert large.reconstruct(images, chosen).shape == images.shape
