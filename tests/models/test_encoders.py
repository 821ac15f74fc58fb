import copy

import pytest
import torch
from torch import nn

from usfmae.base.input_spec import InputSpec
from usfmae.models.classifier import Classifier, load_classifier, pool_tokens, save_classifier
from usfmae.models.cnn.convnext import Block
from usfmae.models.encoder import skip_whole_branch
from usfmae.models.encoders import CNN_NAMES, CnnConfig, build_cnn, build_encoder, encoder_record, start_cnn
from usfmae.models.vit import VisionTransformer, ViTConfig

PUBLISHED = {
    "resnet-50": 25_557_032 - 2_049_000,
    "vgg-19": 20_024_384,
    "vgg-19-bn": 20_024_384 + 2 * (2 * 64 + 2 * 128 + 4 * 256 + 8 * 512),
    "densenet-121": 7_978_856 - 1_025_000,
    "convnext-tiny": 28_589_128 - 769_000,
    "efficientnet-lite0": 4_652_008 - 1_281_000,
}
"""Parameters of torchvision's networks (Google's for the last), less those of ImageNet's classifier."""


def cnn(name, *, channels=1, seed=0, **changes):
    encoder = build_cnn(CnnConfig(name=name, channels=channels, **changes))
    start_cnn(encoder, torch.Generator().manual_seed(seed))
    return encoder.eval()


@pytest.fixture(scope="module", params=CNN_NAMES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def built(name):
    """One network for all tests that leave it as it is."""
    return cnn(name)


def test_there_are_as_many_parameters_as_published(name):
    with torch.device("meta"):
        encoder = build_cnn(CnnConfig(name=name, channels=3))
    assert sum(p.numel() for p in encoder.parameters()) == PUBLISHED[name]


def test_any_image_gives_a_map_and_its_mean(built):
    encoder = built
    images = torch.rand(2, 1, 64, 97, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        tokens, places = encoder(images), encoder.feature_map(images)
    assert places.shape == (2, encoder.embed_dim, 2, 4) == (2, encoder.embed_dim, *encoder.grid_of((64, 97)))
    assert torch.equal(tokens[:, 1:].transpose(1, 2), places.flatten(2))
    torch.testing.assert_close(tokens[:, 0], places.mean(dim=(2, 3)))
    torch.testing.assert_close(pool_tokens(tokens, "mean"), pool_tokens(tokens, "cls"))


@pytest.mark.parametrize("which", ["densenet-121", "efficientnet-lite0"])
def test_the_order_in_memory_changes_the_speed_and_not_the_map(which):
    network, images = cnn(which), torch.randn(2, 1, 64, 48, generator=torch.Generator().manual_seed(3))
    assert network.pixels_together
    seen = []
    network.last_map, plain = lambda x: seen.append(x.stride()) or plain(x), network.last_map
    with torch.no_grad():
        together = network(images)
        network.pixels_together = False
        apart = network(images)
    assert seen == [(64 * 48, 1, 48, 1), (64 * 48, 64 * 48, 48, 1)]
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-4 * float(apart.abs().max()))


def test_layers_begin_at_the_pixels_and_leave_none_out(built):
    encoder = built
    layers = [encoder.layer_of(key) for key, _ in encoder.named_parameters()]
    counted = [layer for layer in layers if layer is not None]
    assert counted[0] == 0
    assert sorted(set(counted)) == list(range(max(counted) + 1))
    assert counted == sorted(counted)


def test_a_seed_decides_the_start(name, built):
    first, again = built.state_dict(), cnn(name).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    other = cnn("efficientnet-lite0", seed=1).state_dict()
    assert name != "efficientnet-lite0" or any(not torch.equal(first[key], other[key]) for key in first)


def test_a_random_start_neither_dies_nor_explodes(built):
    images = torch.randn(4, 1, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        tokens = copy.deepcopy(built).train()(images)
    assert 1e-4 < tokens.std() < 1e3


def test_a_vit_gives_its_patches_as_a_map():
    vit = VisionTransformer(ViTConfig(size="ti", image_px=(32, 48), patch_px=8)).eval()
    images = torch.rand(1, 1, 32, 48)
    with torch.no_grad():
        places, tokens = vit.feature_map(images), vit(images)
    assert places.shape == (1, 192, 4, 6)
    assert torch.equal(places[0, :, 1, 2], tokens[0, 1 + 6 + 2])


def test_layers_of_a_vit_are_counted_from_the_embeddings_up():
    vit = VisionTransformer(ViTConfig(size="ti", image_px=32))
    assert vit.layer_of("patch_embed.proj.bias") == 0
    assert vit.layer_of("blocks.11.mlp.fc1.weight") == 12
    assert vit.layer_of("norm.weight") is None


def test_a_classifier_on_any_encoder_survives_its_file(built, tmp_path):
    network = Classifier(built, 3, pool="mean", generator=torch.Generator().manual_seed(3))
    nn.init.normal_(network.classifier.weight, generator=torch.Generator().manual_seed(4))
    path = tmp_path / "classifier.safetensors"
    save_classifier(path, network, classes=("a", "b", "c"), input_spec=InputSpec(image_px=64))
    images = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(load_classifier(path).network(images), network.eval()(images))


def test_a_record_builds_the_same_shape():
    for encoder in (cnn("resnet-50", channels=2), VisionTransformer(ViTConfig(size="ti", image_px=32))):
        again = build_encoder(encoder_record(encoder))
        assert {k: v.shape for k, v in again.state_dict().items()} == {
            k: v.shape for k, v in encoder.state_dict().items()
        }


def test_a_branch_is_skipped_for_whole_images_and_keeps_its_mean():
    torch.manual_seed(0)
    kept = skip_whole_branch(torch.ones(4000, 2, 3), ratio=0.25, training=True)
    values = kept.flatten(1)
    assert values.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert (values == values[:, :1]).all()
    assert values.mean() == pytest.approx(1, abs=0.05)
    assert torch.equal(skip_whole_branch(torch.ones(2, 1), ratio=0.9, training=False), torch.ones(2, 1))


@pytest.mark.parametrize("which", ["convnext-tiny", "efficientnet-lite0"])
def test_stochastic_depth_reaches_the_blocks(which):
    images = torch.rand(4, 1, 64, 64)
    with torch.no_grad():
        deep = cnn(which, drop_path=0.9).train()
        for module in deep.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
            if isinstance(module, Block):
                nn.init.ones_(module.layer_scale)
        torch.manual_seed(0)
        first = deep(images)
        torch.manual_seed(1)
        assert not torch.equal(first, deep(images))
        assert torch.equal(deep.eval()(images), deep(images))
