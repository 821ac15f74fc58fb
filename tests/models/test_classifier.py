import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from usfmae.base.errors import WeightsError
from usfmae.base.input_spec import InputSpec
from usfmae.models.classifier import Classifier, load_classifier, pool_tokens, save_classifier
from usfmae.models.vit import VisionTransformer, ViTConfig, start_weights

SPEC = InputSpec(image_px=16)
CLASSES = ("gutartig", "bösartig", "normal")


def network(pool="mean", norm="none", seed=0):
    generator = torch.Generator().manual_seed(seed)
    encoder = VisionTransformer(ViTConfig(size="ti", image_px=16, patch_px=8))
    start_weights(encoder, generator)
    return Classifier(encoder, 3, pool=pool, norm=norm, generator=generator)


def test_pooling_by_hand():
    tokens = torch.tensor([[[9.0, 8.0], [1.0, 2.0], [3.0, 6.0]]])  # class token, two patches
    assert pool_tokens(tokens, "cls").tolist() == [[9, 8]]
    assert pool_tokens(tokens, "mean").tolist() == [[2, 4]]
    assert pool_tokens(tokens, "mean+cls").tolist() == [[2, 4, 9, 8]]


def test_all_classes_start_equally_likely():
    logits = network()(torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(1)))
    assert logits.shape == (4, 3)
    assert logits.abs().max().item() < 0.01


def test_with_a_batch_norm_the_map_sees_features_of_mean_0_and_spread_1():
    learning = network(norm="batch")
    images = torch.randn(8, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    features = pool_tokens(learning.encoder(images), "mean")
    spread = (features.var(dim=0, unbiased=False) + 1e-5).sqrt()
    by_hand = learning.classifier((features - features.mean(dim=0)) / spread)
    torch.testing.assert_close(learning(images), by_hand, rtol=1e-4, atol=1e-8)
    assert sum(p.numel() for p in learning.norm.parameters()) == 0


def test_once_learnt_an_answer_does_not_depend_on_the_images_beside_it():
    learning = network(norm="batch")
    images = torch.randn(8, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    learning(images)
    told = learning.eval()(images)
    torch.testing.assert_close(learning(images[:1]), told[:1], rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize(("pool", "norm"), [("mean", "batch"), ("cls", "none"), ("mean+cls", "batch")])
def test_a_file_gives_back_the_same_classifier(tmp_path, pool, norm):
    before = network(pool, norm)
    before(torch.randn(8, 1, 16, 16, generator=torch.Generator().manual_seed(2)) + 3)
    before.eval()
    save_classifier(tmp_path / "c.safetensors", before, classes=CLASSES, input_spec=SPEC)
    after = load_classifier(tmp_path / "c.safetensors")
    assert (after.classes, after.input_spec, after.network.pool) == (CLASSES, SPEC, pool)
    assert after.network.norm_name == norm
    images = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(after.network(images), before(images), rtol=0, atol=0)
    assert not after.network.training


def test_equal_classifiers_give_equal_files(tmp_path):
    for name in ("a", "b"):
        save_classifier(tmp_path / name, network(), classes=CLASSES, input_spec=SPEC)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_file_from_before_there_was_a_norm_opens_without_one(tmp_path):
    path, old = tmp_path / "c.safetensors", tmp_path / "old.safetensors"
    before = network().eval()
    save_classifier(path, before, classes=CLASSES, input_spec=SPEC)
    with safe_open(path, framework="pt") as file:
        metadata = {name: json.loads(about) for name, about in file.metadata().items()}
    for about in metadata.values():
        del about["norm"]
    save_file(load_file(path), old, metadata={name: json.dumps(about) for name, about in metadata.items()})
    images = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(load_classifier(old).network(images), before(images), rtol=0, atol=0)


def test_bad_files_are_named(tmp_path):
    path = tmp_path / "c.safetensors"
    with pytest.raises(WeightsError, match=r"c\.safetensors: no such classifier file"):
        load_classifier(path)
    save_classifier(path, network(), classes=CLASSES, input_spec=SPEC)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="cannot be read as a classifier"):
        load_classifier(path)
    save_file({"a": torch.zeros(1)}, path, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="is no classifier of usfmae"):
        load_classifier(path)
