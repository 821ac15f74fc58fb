import pytest
import torch
from safetensors.torch import save_file

from usfmae.base.errors import WeightsError
from usfmae.base.input_spec import InputSpec
from usfmae.models.classifier import Classifier, load_classifier, pool_tokens, save_classifier
from usfmae.models.vit import VisionTransformer, ViTConfig, start_weights

SPEC = InputSpec(image_px=16)
CLASSES = ("gutartig", "bösartig", "normal")


def network(pool="mean", seed=0):
    generator = torch.Generator().manual_seed(seed)
    encoder = VisionTransformer(ViTConfig(size="ti", image_px=16, patch_px=8))
    start_weights(encoder, generator)
    return Classifier(encoder, 3, pool=pool, generator=generator)


def test_pooling_by_hand():
    tokens = torch.tensor([[[9.0, 8.0], [1.0, 2.0], [3.0, 6.0]]])  # class token, two patches
    assert pool_tokens(tokens, "cls").tolist() == [[9, 8]]
    assert pool_tokens(tokens, "mean").tolist() == [[2, 4]]
    assert pool_tokens(tokens, "mean+cls").tolist() == [[2, 4, 9, 8]]


def test_all_classes_start_equally_likely():
    logits = network()(torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(1)))
    assert logits.shape == (4, 3)
    assert logits.abs().max().item() < 0.01


@pytest.mark.parametrize("pool", ["mean", "cls", "mean+cls"])
def test_a_file_gives_back_the_same_classifier(tmp_path, pool):
    before = network(pool).eval()
    save_classifier(tmp_path / "c.safetensors", before, classes=CLASSES, input_spec=SPEC)
    after = load_classifier(tmp_path / "c.safetensors")
    assert (after.classes, after.input_spec, after.network.pool) == (CLASSES, SPEC, pool)
    images = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(after.network(images), before(images), rtol=0, atol=0)
    assert not after.network.training


def test_equal_classifiers_give_equal_files(tmp_path):
    for name in ("a", "b"):
        save_classifier(tmp_path / name, network(), classes=CLASSES, input_spec=SPEC)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


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
