import cv2
import pytest
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image

from usfmae.base.errors import WeightsError
from usfmae.base.input_spec import IMAGENET_INPUT, InputSpec
from usfmae.models.cnn_weights import LITE_INPUT, imagenet_file, load_cnn, load_cnn_into, read_cnn, stem_of
from usfmae.models.encoders import CNN_NAMES, CnnConfig, build_cnn, start_cnn
from usfmae.models.weights import save_encoder

CLASSIFIER = {
    "resnet-50": "fc",
    "vgg-19": "classifier.6",
    "vgg-19-bn": "classifier.6",
    "densenet-121": "classifier",
    "convnext-tiny": "classifier.2",
    "efficientnet-lite0": "_fc",
}


def published(name, channels=3):
    """A state dict with the published names: those of the network and of ImageNet's classifier."""
    encoder = build_cnn(CnnConfig(name=name, channels=channels))
    start_cnn(encoder, torch.Generator().manual_seed(5))
    state = dict(encoder.state_dict())
    if name == "convnext-tiny":
        for part in ("weight", "bias"):
            state[f"classifier.0.{part}"] = state.pop(f"norm.{part}")
    if name == "densenet-121":
        state = {key.replace("norm1.", "norm.1.").replace("conv1.", "conv.1."): v for key, v in state.items()}
    head = CLASSIFIER[name]
    return encoder, state | {f"{head}.weight": torch.zeros(1000, 8), f"{head}.bias": torch.zeros(1000)}


@pytest.mark.parametrize("name", CNN_NAMES)
def test_a_published_file_loads_every_tensor(name, tmp_path):
    encoder, state = published(name)
    torch.save(state, tmp_path / "net.pth")
    loaded = load_cnn(tmp_path / "net.pth", name)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded.encoder(images), encoder.eval()(images))
    assert set(loaded.report.dropped.values()) == {"classifier of ImageNet"}
    assert len(loaded.report.loaded) == len(encoder.state_dict())
    wanted = LITE_INPUT if name == "efficientnet-lite0" else IMAGENET_INPUT
    assert loaded.input_spec == wanted


def test_a_missing_tensor_is_named(tmp_path):
    _, state = published("resnet-50")
    del state["layer3.2.bn2.weight"]
    save_file(state, tmp_path / "net.safetensors")
    with pytest.raises(WeightsError, match=r"1 of its 318 tensors are missing.*layer3\.2\.bn2\.weight"):
        load_cnn(tmp_path / "net.safetensors", "resnet-50")


def test_another_network_is_refused(tmp_path):
    torch.save(published("resnet-50")[1], tmp_path / "net.pth")
    with pytest.raises(WeightsError, match="is no densenet-121"):
        load_cnn(tmp_path / "net.pth", "densenet-121")


def test_another_shape_is_refused(tmp_path):
    _, state = published("resnet-50")
    state["layer1.0.conv1.weight"] = torch.zeros(32, 64, 1, 1)
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=r"layer1\.0\.conv1\.weight has shape \[32, 64, 1, 1\]"):
        load_cnn(tmp_path / "net.pth", "resnet-50")


def test_a_grey_file_stays_grey(tmp_path):
    torch.save(published("resnet-50", channels=1)[1], tmp_path / "net.pth")
    loaded = load_cnn(tmp_path / "net.pth", "resnet-50", image_px=96)
    assert (loaded.input_spec.channels, loaded.input_spec.image_px) == (1, 96)


@pytest.mark.parametrize("name", CNN_NAMES)
def test_the_stem_is_the_one_tensor_whose_shape_follows_the_channels(name):
    with torch.device("meta"):
        grey, colour = (build_cnn(CnnConfig(name=name, channels=num)).state_dict() for num in (1, 3))
    assert [key for key in grey if grey[key].shape != colour[key].shape] == [stem_of(name)]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_run_in_colour_is_told_by_its_stem_though_its_file_is_sorted_by_name(channels, tmp_path):
    network, state = published("efficientnet-lite0", channels=channels)
    file, spec = tmp_path / "weights.safetensors", InputSpec(image_px=32, channels=channels)
    save_encoder(file, network, input_spec=spec)
    loaded = load_cnn(file, "efficientnet-lite0")
    assert loaded.input_spec == spec
    assert all(torch.equal(value, state[key]) for key, value in loaded.encoder.state_dict().items())
    grey = build_cnn(CnnConfig(name="efficientnet-lite0"))
    read = read_cnn(file, "efficientnet-lite0")
    report = load_cnn_into(grey, read, decoder=torch.nn.Identity(), input_spec=InputSpec(image_px=32))
    folded = {"_conv_stem.weight": "3 channels folded into 1"}
    assert report.resized == (folded if channels == 3 else {})
    by_hand = state["_conv_stem.weight"].sum(dim=1, keepdim=True)
    torch.testing.assert_close(grey.state_dict()["_conv_stem.weight"], by_hand)


def test_only_efficientnet_lite_has_weights_at_hand():
    with pytest.raises(WeightsError, match="ImageNet weights of resnet-50 do not come") as caught:
        imagenet_file("resnet-50")
    assert "efficientnet-lite0" in caught.value.hint
    with pytest.raises(WeightsError, match="no such weights file"):
        load_cnn(imagenet_file("efficientnet-lite0").with_name("other.pth"), "efficientnet-lite0")


def test_imagenet_weights_know_a_daisy():
    # scikit-learn ships a photograph of a flower; the class is number 985 of ImageNet's thousand.
    file = imagenet_file("efficientnet-lite0")
    encoder, spec = (one := load_cnn(file, "efficientnet-lite0")).encoder, one.input_spec
    flower = cv2.resize(load_sample_image("flower.jpg"), (224, 224), interpolation=cv2.INTER_AREA)
    mean, std = (torch.tensor(values)[:, None, None] for values in (spec.mean, spec.std))
    pixels = (torch.from_numpy(flower).permute(2, 0, 1) / 255 - mean) / std
    head = torch.load(file, weights_only=True)
    with torch.no_grad():
        logits = encoder(pixels[None])[:, 0] @ head["_fc.weight"].T + head["_fc.bias"]
    assert int(logits.argmax()) == 985
