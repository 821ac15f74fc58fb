import numpy as np
import pytest
import torch

from usfmae.base.input_spec import InputSpec
from usfmae.engine.augment import whole_batch
from usfmae.engine.devices import to_input
from usfmae.evaluate.features import FeatureStore, encode_images
from usfmae.models.weights import load_encoder

IMAGES = np.random.default_rng(0).integers(0, 256, (11, 24, 24), dtype=np.uint8)
ONE = IMAGES[:1]
SPEC = InputSpec(image_px=16)


@pytest.fixture
def encoder(weights):
    return load_encoder(weights).encoder


def test_features_are_the_pooled_tokens_of_the_whole_image(encoder):
    small = torch.from_numpy(whole_batch(IMAGES, image_px=16))
    with torch.no_grad():
        tokens = encoder(to_input(small, SPEC, torch.device("cpu"))).numpy()
    found = {
        pool: encode_images(encoder, IMAGES, input_spec=SPEC, pool=pool)
        for pool in ("mean", "cls", "mean+cls")
    }
    np.testing.assert_allclose(found["mean"], tokens[:, 1:].mean(axis=1), atol=1e-5)
    np.testing.assert_allclose(found["cls"], tokens[:, 0], atol=1e-5)
    np.testing.assert_array_equal(found["mean+cls"], np.concatenate([found["mean"], found["cls"]], axis=1))


def test_the_size_of_the_batches_does_not_matter(encoder):
    whole = encode_images(encoder, IMAGES, input_spec=SPEC)
    parts = encode_images(encoder, IMAGES, input_spec=SPEC, batch=4)
    np.testing.assert_allclose(parts, whole, atol=1e-5)


def test_a_run_in_progress_is_not_disturbed(encoder):
    encoder.train()
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    encode_images(encoder, IMAGES, input_spec=SPEC, title="encode")
    torch.testing.assert_close(torch.rand(4), expected, rtol=0, atol=0)
    assert encoder.training
    assert all(parameter.grad is None for parameter in encoder.parameters())


def test_bf16_is_close_to_fp32(encoder):
    exact = encode_images(encoder, IMAGES, input_spec=SPEC)
    fast = encode_images(encoder, IMAGES, input_spec=SPEC, precision="bf16")
    assert np.abs(fast - exact).max() < 0.05 * np.abs(exact).max()
    assert fast.dtype == np.float32


def test_features_asked_for_longest_ago_go_before_others_are_made():
    made, held = [], []
    store = FeatureStore(limit_bytes=100)

    def features(name, size):
        def make():
            made.append(name)
            held.append(store.num_bytes)
            return np.zeros((1, size // 2), dtype=np.float16)

        return store.get(name, ONE, make)

    first = features("a", 60)
    features("b", 40)
    assert features("a", 60) is first  # 100 bytes are kept, and a is now the last that was asked for
    features("c", 80)  # nothing goes, since 100 are allowed beside what is made
    features("d", 10)  # 180 are too many: b goes, then a with 140 left
    features("c", 80)
    features("a", 60)
    assert made == ["a", "b", "c", "d", "a"]
    assert held == [0, 60, 100, 80, 90]


def test_features_larger_than_the_limit_are_kept_only_until_others_are_made():
    store = FeatureStore(limit_bytes=10)
    held = []
    for name in ("a", "a", "b", "b"):
        store.get(name, ONE, lambda: held.append(store.num_bytes) or np.zeros((1, 25), np.float16))
    assert held == [0, 0]
    assert store.num_bytes == 50
