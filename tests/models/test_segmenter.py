import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from usfmae.models import vit as vit_module
from usfmae.models.segmenter import Segmenter, ViTFeatures
from usfmae.models.vit import VisionTransformer, ViTConfig, start_weights


def vit(image_px=64, patch_px=16) -> VisionTransformer:
    encoder = VisionTransformer(ViTConfig(size="ti", image_px=image_px, patch_px=patch_px))
    start_weights(encoder, torch.Generator().manual_seed(1))
    return encoder


def segmenter(encoder=None, num_labels=3, *, seed=2) -> Segmenter:
    generator = torch.Generator().manual_seed(seed)
    return Segmenter(encoder or ViTFeatures(vit()), num_labels, channels=1, generator=generator)


class Pyramid(nn.Module):
    """Four averages of the image, as a CNN's levels."""

    map_widths = (1, 1, 1, 1)
    map_strides = (4, 8, 16, 32)

    def feature_maps(self, images):
        return [F.avg_pool2d(images, stride) for stride in self.map_strides]


@pytest.mark.parametrize(("height", "width"), [(64, 64), (32, 96), (128, 64)])
def test_logits_have_the_size_of_the_image_whatever_multiple_of_the_patch(height, width):
    images = torch.randn(2, 1, height, width)
    assert segmenter()(images).shape == (2, 3, height, width)


@pytest.mark.parametrize("patch_px", [8, 14, 16, 32])
def test_any_patch_fits(patch_px):
    module = segmenter(ViTFeatures(vit(4 * patch_px, patch_px)))
    assert module(torch.randn(1, 1, 4 * patch_px, 4 * patch_px)).shape[2:] == (4 * patch_px, 4 * patch_px)


def test_a_size_that_the_patch_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="60 x 64 px are no multiple of the patch of 16 px"):
        segmenter()(torch.randn(1, 1, 60, 64))


def test_at_the_start_no_label_is_far_ahead_of_the_others():
    logits = segmenter()(torch.randn(2, 1, 64, 64))
    assert 0.1 < logits.std() < 2
    assert logits.mean(dim=(0, 2, 3)).abs().max() < 2


def test_the_start_is_a_function_of_the_seed():
    one, same, other = segmenter(), segmenter(), segmenter(seed=3)
    states = [module.state_dict() for module in (one, same, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["entries.0.weight"], states[2]["entries.0.weight"])


def test_the_maps_are_the_patch_tokens_in_their_places():
    encoder = vit()
    images = torch.randn(1, 1, 64, 64)
    maps = ViTFeatures(encoder).feature_maps(images)
    assert len(maps) == 4
    tokens = encoder(images)[0, 1:]
    wanted = F.layer_norm(tokens, (192,))
    # Patch (down 2, across 3) of a 4 x 4 grid is token 11.
    torch.testing.assert_close(maps[-1][0, :, 2, 3], wanted[11])


def test_three_layers_in_the_middle_are_seen_too():
    encoder = vit()
    images = torch.randn(1, 1, 64, 64)
    features = ViTFeatures(encoder)
    before = features.feature_maps(images)
    with torch.no_grad():
        encoder.blocks[3].mlp.fc2.bias += 1.0 * torch.randn(192)  # after layer 3, before layer 6
    after = features.feature_maps(images)
    changed = [not torch.allclose(a, b) for a, b in zip(before, after, strict=True)]
    assert changed == [False, True, True, True]


def test_every_parameter_learns():
    module = segmenter()
    module(torch.randn(2, 1, 64, 64)).square().mean().backward()
    bare = [name for name, p in module.named_parameters() if p.requires_grad and p.grad is None]
    assert bare == []
    flat = [name for name, p in module.named_parameters() if p.grad is not None and not p.grad.any()]
    # The class token reaches patches through attention; the last key biases cancel in the softmax.
    assert [name for name in flat if not name.endswith("qkv.bias")] == []


def test_an_image_does_not_depend_on_its_neighbours_in_the_batch():
    module = segmenter().eval()
    images = torch.randn(3, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(module(images)[1:2], module(images[1:2]), atol=1e-4, rtol=1e-4)


def test_a_pyramid_enters_level_by_level():
    module = segmenter(Pyramid())
    assert module.enters == (4, 8, 16, 16)
    assert module(torch.randn(2, 1, 64, 96)).shape == (2, 3, 64, 96)


def test_a_mirrored_pyramid_gives_a_mirrored_map_if_the_kernels_are_symmetric():
    # Nothing in the way up shifts: with kernels that are equal left and right, mirroring image and map agree.
    # A stride of 2 with padding 1 samples the stem off-centre, so that is left out here.
    module = segmenter(Pyramid()).eval()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim == 4:
                parameter.copy_((parameter + parameter.flip(-1)) / 2)
            if name.startswith("stem"):
                parameter.zero_()
        images = torch.randn(1, 1, 64, 64)
        torch.testing.assert_close(module(images.flip(-1)).flip(-1), module(images), atol=1e-4, rtol=1e-4)


def test_the_decoder_is_light():
    module = segmenter()
    assert module.num_decoder_parameters < 0.08 * sum(p.numel() for p in module.parameters())


def test_what_is_no_encoder_is_refused():
    with pytest.raises(ValueError, match="Linear gives no feature maps"):
        segmenter(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="num_labels must be at least 2"):
        segmenter(num_labels=1)


def test_it_learns_a_disc_from_its_brightness(monkeypatch):
    monkeypatch.setitem(vit_module.SIZES, "ti", (48, 3, 3))
    torch.manual_seed(0)
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    images, maps = [], []
    for down, across in ((10, 10), (20, 12), (14, 22), (18, 18)):
        disc = (rows - down) ** 2 + (columns - across) ** 2 < 36
        images.append(disc.float() + 0.2 * torch.randn(32, 32))
        maps.append(disc.long())
    batch, truth = torch.stack(images)[:, None], torch.stack(maps)
    module = segmenter(ViTFeatures(vit(32, 16)), 2)
    optimizer = torch.optim.AdamW(module.parameters(), lr=2e-3)
    for _ in range(40):
        loss = F.cross_entropy(module(batch), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    predicted = module(batch).argmax(dim=1)
    dice = 2 * ((predicted == 1) & (truth == 1)).sum() / ((predicted == 1).sum() + (truth == 1).sum())
    assert dice > 0.9
