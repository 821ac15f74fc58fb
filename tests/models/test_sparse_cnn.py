"""A masked convolutional network: nothing of a hidden pixel is seen, hidden patches alone are predicted."""

import pytest
import torch
from pydantic import ValidationError

from usfmae.models.agreement import AgreementConfig
from usfmae.models.masked_models import build_masked, start_masked
from usfmae.models.masking import Hiding, hide_patches
from usfmae.models.patches import patchify
from usfmae.models.sparse_cnn import SparseAutoencoder, SparseCnnConfig, SparseEncoderConfig
from usfmae.models.visible_places import VisiblePlaces
from usfmae.models.vit import take_rows


def network(agreement="none", **settings) -> SparseAutoencoder:
    module = build_masked(
        SparseCnnConfig(
            encoder=SparseEncoderConfig(image_px=64, **settings),
            hide_ratio=0.5,
            agreement=AgreementConfig(kind=agreement, dim=8),
        )
    )
    start_masked(module, torch.Generator().manual_seed(0))
    return module


@pytest.fixture(scope="module")
def module():
    return network()


@pytest.fixture
def images():
    return torch.randn(3, 1, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def hiding():
    """Hidden patches lie right of visible ones, below them, and both: a kernel reaches into all of them."""
    return Hiding(torch.tensor([[0, 1], [0, 2], [0, 3]]), torch.tensor([[2, 3], [1, 3], [1, 2]]))


def changed(images, hiding, value):
    """The images with other hidden pixels."""
    mask = ~VisiblePlaces(hiding.visible, (2, 2)).mask(32)[:, None]
    return torch.where(mask, value, images)


@pytest.mark.parametrize("training", [True, False])
def test_nothing_depends_on_hidden_pixels(module, images, hiding, training):
    module.train(training)
    with torch.no_grad():
        places = VisiblePlaces(hiding.visible, (2, 2))
        rows = module.encode(images, places)
        other = changed(images, hiding, torch.tensor(float("nan")))
        for one, two in zip(rows, module.encode(other, places), strict=True):
            assert torch.equal(one, two)
        # What is predicted for an image is the same to the bit, and so is its part of the loss: the first
        # image alone is changed, the others are scored as before.
        first = torch.cat([other[:1].nan_to_num(9.0), images[1:]])
        then, now = module(images, hiding), module(first, hiding)
        assert torch.equal(then.prediction, now.prediction)
        assert then.loss != now.loss


def test_visible_pixels_of_one_patch_reach_the_prediction_of_another(module, images, hiding):
    moved = images.clone()
    row, column = divmod(int(hiding.visible[0, 0]), 2)
    moved[0, 0, row * 32 + 16, column * 32 + 16] += 3.0
    with torch.no_grad():
        module.eval()
        then, now = (module(each, hiding).prediction for each in (images, moved))
    assert not torch.equal(then[0], now[0])
    assert torch.equal(then[1:], now[1:])  # evaluated, an image does not depend on others


def test_views_are_compared_by_the_mean_of_the_visible_places(module, images, hiding):
    comparing = network("image").eval()
    with torch.no_grad():
        (*_, last) = comparing.encode(images, VisiblePlaces(hiding.visible, (2, 2)))
        by_image = torch.stack([(last[2 * k] + last[2 * k + 1]) / 2 for k in range(3)])
        projected = comparing(images, hiding).projected
        assert torch.allclose(projected, comparing.projector(by_image), atol=1e-5)
        assert projected.shape == (3, 8)
        other = changed(images, hiding, torch.tensor(9.0))
        assert torch.equal(comparing(other, hiding).projected, projected)
    assert module(images, hiding).projected is None
    fresh, drawn = network().state_dict(), network("image").state_dict()
    assert all(torch.equal(drawn[name], value) for name, value in fresh.items())  # the projector comes last
    comparing(images, hiding).projected.square().sum().backward()
    assert comparing.encoder._conv_stem.weight.grad.abs().max() > 0


def test_the_loss_by_hand(module, images, hiding):
    module.eval()
    with torch.no_grad():
        out = module(images, hiding)
    target = take_rows(patchify(images, 32), hiding.hidden)
    std, mean = torch.std_mean(target, dim=2, keepdim=True)
    expected = (((target - mean) / (std**2 + 1e-6).sqrt() - out.prediction) ** 2).mean()
    assert out.prediction.shape == (3, 2, 1024)
    assert out.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    weights = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    scored = Hiding(hiding.visible, hiding.hidden, weights)
    each = (((target - mean) / (std**2 + 1e-6).sqrt() - out.prediction) ** 2).mean(2)
    with torch.no_grad():
        loss = module(images, scored).loss.item()
    assert loss == pytest.approx(float(each[0, 0] + each[2].mean()) / 3, rel=1e-5)


def test_a_reconstruction_changes_hidden_patches_only(module, images, hiding):
    module.eval()
    made = module.reconstruct(images, hiding)
    shown = VisiblePlaces(hiding.visible, (2, 2)).mask(32)[:, None]
    assert torch.equal(made[shown], images[shown])
    assert not bool((made == images)[~shown].any())
    with torch.no_grad():
        said = module(images, hiding).prediction
    std, mean = torch.std_mean(take_rows(patchify(images, 32), hiding.hidden), dim=2, keepdim=True)
    there = take_rows(patchify(made, 32), hiding.hidden)
    assert torch.allclose((there - mean) / (std**2 + 1e-6).sqrt(), said, atol=1e-4)


def test_pixels_of_a_prediction_lie_where_they_are_predicted():
    # A decoder whose last map and its 4 x 4 pixels are known: pixel (5, 2) is place (1, 0), its pixel (1, 2).
    module = network(channels=2)
    with torch.no_grad():
        for parameter in module.decoder.pred.parameters():
            parameter.zero_()
        module.decoder.pred.bias[1 * 16 + 1 * 4 + 2] = 7.0  # of the second channel
        hiding = Hiding(torch.tensor([[0, 3]]), torch.tensor([[1, 2]]))
        images = torch.zeros(1, 2, 64, 64)
        said = module.eval()(images, hiding).prediction.reshape(2, 32, 32, 2)
    assert said[0, 5, 2].tolist() == [0.0, 7.0]
    assert said[1, 4, 2].tolist() == [0.0, 0.0]
    assert said.sum().item() == 7.0 * 2 * 64


def test_the_number_of_parameters():
    # EfficientNet-Lite0 has 4,652,008 with three channels and the classifier of 1,000 classes (1,281,000);
    # one channel takes 2 x 288 off the stem. The decoder, widths 128, 64, 32, 16 by hand:
    # norms and maps of four scales and mask tokens, three steps of two convolutions, the last, the pixels.
    module = network()
    scales = sum(2 * c + c * d + d + d for c, d in ((1280, 128), (112, 64), (40, 32), (24, 16)))
    steps = sum(9 * a * a + 2 * a + 9 * a * b + 2 * b for a, b in ((128, 64), (64, 32), (32, 16), (16, 16)))
    assert sum(p.numel() for p in module.encoder.parameters()) == 4_652_008 - 1_281_000 - 576
    assert sum(p.numel() for p in module.decoder.parameters()) == scales + steps + 16 * 16 + 16


def test_it_learns_an_easy_task():
    # Patches that are all alike, a light from left to right: what is visible says what is hidden.
    module = network().train()
    ramp = torch.linspace(-1, 1, 32).repeat(2).expand(4, 1, 64, 64)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-2)
    losses = []
    for step in range(20):
        hiding = hide_patches(4, 4, hide_ratio=0.5, rng=torch.Generator().manual_seed(step))
        loss = module(ramp, hiding).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 0.8
    assert sum(losses[-3:]) / 3 < 0.25
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in module.parameters())


def test_every_parameter_has_a_gradient(module, images, hiding):
    module.train().zero_grad()
    module(images, hiding).loss.backward()
    assert [name for name, p in module.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder": {"image_px": 72}}, r"image_px=72 is not a multiple of 32, the stride of efficientnet"),
        ({"encoder": {"image_px": [64, 80]}}, r"is not a multiple of 32"),
        (
            {"encoder": {"image_px": 64}, "hide_ratio": 0.75},
            r"hide_ratio=0\.75 leaves 1 of 4 patches visible",
        ),
        ({"encoder": {"image_px": 32}}, r"hide_ratio=0\.6 hides 1 of 1 patches"),
        ({"hiding": {"kind": "block", "block": 5}}, r"hiding\.block=5 does not fit into 4 x 4 patches"),
        ({"context": "clip"}, r"context"),
        ({"decoder": {"dim": 100}}, r"multiple of 64"),
    ],
)
def test_nonsense_is_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        SparseCnnConfig.model_validate(settings)
