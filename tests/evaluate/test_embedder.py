"""`usfmae.load`: an encoder that takes pictures."""

import cv2
import numpy as np
import pytest
import torch
from small_shelf import SIDE, put_on_shelf, tiny_vit

import usfmae
from usfmae.base.errors import ImageError, SettingError, WeightsError
from usfmae.base.input_spec import InputSpec
from usfmae.engine.devices import to_input
from usfmae.evaluate.features import encode_images
from usfmae.images.frame import Frame, FrameSource
from usfmae.images.prepare import prepare
from usfmae.models.encoders import CnnConfig, build_cnn, start_cnn
from usfmae.models.half_file import write_half
from usfmae.models.weights import save_encoder


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    monkeypatch.setenv("USFMAE_PRETRAINED", str(tmp_path / "shelf"))
    put_on_shelf(tmp_path / "shelf")
    return tmp_path / "shelf"


def pictures(folder, count=3, shape=(40, 56)):
    noise = np.random.default_rng(0)
    made = []
    for k in range(count):
        picture = cv2.GaussianBlur(noise.integers(0, 256, shape, dtype=np.uint8), (5, 5), 2)
        cv2.imwrite(str(folder / f"{k}.png"), picture)
        made.append(picture)
    return made


def test_an_embedding_is_the_feature_that_nearest_neighbours_compare(shelf, tmp_path):
    made = pictures(tmp_path)
    model = usfmae.load("usfmae_s16")
    frames = [Frame(picture, spacing_mm=None, source=FrameSource("x", 0, 1)) for picture in made]
    prepared = np.stack([prepare(frame, size_px=256) for frame in frames])
    expected = encode_images(model.encoder, prepared, input_spec=model.input_spec)
    found = model.embed([tmp_path / "0.png", str(tmp_path / "1.png"), made[2]])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("fit", "crop"), [("stretch", "none"), ("pad", "sector")])
def test_pictures_are_shown_as_the_weights_have_learnt_to_see_them(tmp_path, fit, crop):
    fan = cv2.fillConvexPoly(np.zeros((60, 90), np.uint8), np.array([[30, 2], [55, 50], [5, 50]]), 200)
    spec = InputSpec(image_px=SIDE, fit=fit, crop=crop)
    save_encoder(tmp_path / "w.safetensors", tiny_vit(), input_spec=spec)
    frame = Frame(fan, spacing_mm=None, source=FrameSource("x", 0, 1))
    shown = usfmae.load(tmp_path / "w.safetensors").prepare_one(fan)
    np.testing.assert_array_equal(shown, prepare(frame, size_px=256, fit=fit, crop=crop))
    assert not np.array_equal(shown, prepare(frame, size_px=256))


def test_one_picture_many_and_none(shelf, tmp_path):
    made = pictures(tmp_path)
    model = usfmae.load("usfmae_s16")
    assert model.embed(tmp_path / "0.png").shape == model.embed(made[0]).shape == (1, model.width)
    colour = np.repeat(made[0][..., None], 3, axis=2)
    np.testing.assert_array_equal(model.embed(colour), model.embed(made[0]))
    np.testing.assert_array_equal(model.embed(np.stack(made)), model.embed(made))
    assert model.embed([]).shape == (0, model.width)
    assert model.embed([], pool="mean+cls").shape == (0, 2 * model.width)
    assert model.embed(made, pool="mean+cls", batch=2).shape == (3, 2 * model.width)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (np.zeros((4, 4)), "float64 4 x 4"),
        (np.zeros((0, 4), dtype=np.uint8), "at least one pixel"),
        (np.zeros(4, dtype=np.uint8), "uint8 4$"),
    ],
)
def test_what_is_no_picture_is_refused(shelf, wrong, said):
    model = usfmae.load("usfmae_s16")
    with pytest.raises(ValueError, match=said):
        model.prepare_one(wrong)


def test_a_file_that_is_no_picture_is_an_error_not_a_black_square(shelf, tmp_path):
    (tmp_path / "no.png").write_text("hello")
    with pytest.raises(ImageError, match=r"no\.png"):
        usfmae.load("usfmae_s16").embed([tmp_path / "no.png"])


def test_printing_it_says_what_it_is(shelf):
    model = usfmae.load("usfmae_s16")
    said = str(model)
    assert said.startswith("usfmae_s16\n  network    ViT-Ti/8, 0.")
    for fact in (
        "M parameters, embeddings of 48", "32 x 32 px, grey, aspect kept on black, the whole picture",
        "1,234 images (busi, folder of mine); ultrasound only, from a random start", "held out   bus-bra",
        "licence    no commercial use", f"sha256     {model.sha256}",
    ):  # fmt: skip
        assert fact in said


def test_a_file_without_a_card_says_what_is_not_known(tmp_path):
    save_encoder(tmp_path / "w.safetensors", tiny_vit(), input_spec=InputSpec(image_px=SIDE, fit="stretch"))
    said = str(usfmae.load(tmp_path / "w.safetensors"))
    assert "stretched to the square" in said
    assert "learnt on  not known" in said
    assert "held out" not in said


def test_the_network_goes_on_in_pytorch_and_another_input_side_is_taken(shelf, tmp_path):
    model = usfmae.load("usfmae_s16", image_px=48).to("cpu")
    assert model.input_spec.image_px == 48
    tokens = model.encoder(
        to_input(torch.zeros(2, 48, 48, dtype=torch.uint8), model.input_spec, torch.device("cpu"))
    )
    assert tokens.shape == (2, 1 + 36, model.width)
    with pytest.raises(SettingError, match="patch"):
        usfmae.load("usfmae_s16", image_px=33)


def test_a_slip_in_a_name_or_network_names_the_nearest(shelf):
    with pytest.raises(WeightsError, match="usfmae_s17: no such weights file") as caught:
        usfmae.load("usfmae_s17")
    assert caught.value.hint == "did you mean usfmae_s16?"
    with pytest.raises(SettingError, match="resnet50: no such network") as caught:
        usfmae.load("usfmae_s16", encoder="resnet50")
    assert "resnet-50" in caught.value.hint


def test_default_is_what_ships(shelf):
    assert usfmae.load("default").name == "usfmae_s16"


def test_a_changed_file_is_refused(shelf):
    put_on_shelf(shelf, "other", seed=1)
    (shelf / "usfmae_s16.safetensors").write_bytes((shelf / "other.safetensors").read_bytes())
    with pytest.raises(WeightsError, match="another file than its card describes"):
        usfmae.load("usfmae_s16")


def test_a_convolutional_network_in_half_precision_still_says_which_it_is(tmp_path):
    cnn = build_cnn(CnnConfig(name="efficientnet-lite0", channels=1))
    start_cnn(cnn, torch.Generator().manual_seed(0))
    save_encoder(tmp_path / "whole.safetensors", cnn.eval(), input_spec=InputSpec(image_px=SIDE))
    write_half(tmp_path / "whole.safetensors", tmp_path / "half.safetensors")
    whole, half = (usfmae.load(tmp_path / f"{name}.safetensors") for name in ("whole", "half"))
    assert half.network == whole.network == "efficientnet-lite0"
    assert str(half).split("\n")[1].startswith("  network    efficientnet-lite0, ")
    pictures(tmp_path)
    one, two = (model.embed([tmp_path / "0.png", tmp_path / "1.png"]) for model in (whole, half))
    assert not np.array_equal(one, two)
    assert ((one * two).sum(1) / np.sqrt((one**2).sum(1) * (two**2).sum(1))).min() > 0.9999
