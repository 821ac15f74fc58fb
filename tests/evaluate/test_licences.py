"""Weights say under which licence they are, and are refused for a use that it does not allow."""

import hashlib
import logging

import pytest
import torch

from usfmae.base.errors import SettingError
from usfmae.base.files import read_json
from usfmae.cli.main import main
from usfmae.evaluate.start import Start, heed_licence, open_start
from usfmae.models import licences
from usfmae.models.encoders import CNN_NAMES, PUBLISHED_NAMES
from usfmae.models.licences import LICENCES, MAE, Licence, known_licence, licence_of_vit
from usfmae.models.published.beit import BeitConfig, BeitEncoder
from usfmae.models.vit import VisionTransformer, ViTConfig

NETWORK = ViTConfig(size="ti", image_px=32, patch_px=8)
FORBIDS = Licence("CC BY-NC 4.0", False, "its README")
SILENT = Licence("not stated", None, "its README")


def start(licence, init="pretrained"):
    vit = open_start("scratch", network=NETWORK)
    return Start(vit.encoder, vit.input_spec, init, "ab", licence)


def test_every_encoder_of_others_has_a_licence():
    assert set(LICENCES) == {*CNN_NAMES, *PUBLISHED_NAMES}


def test_a_licence_is_said(caplog):
    with caplog.at_level(logging.INFO):
        heed_licence(start(FORBIDS), encoder="usfm", use="research")
    assert "usfm: weights under CC BY-NC 4.0 (its README); not for commercial use" in caplog.text


@pytest.mark.parametrize(("licence", "verb"), [(FORBIDS, "forbids"), (SILENT, "does not state")])
def test_a_commercial_use_that_is_not_allowed_is_refused(licence, verb):
    with pytest.raises(
        SettingError, match=f"usfm: the licence of its weights {verb} commercial use"
    ) as caught:
        heed_licence(start(licence), encoder="usfm", use="commercial")
    assert "--set use=research" in caught.value.hint


def test_what_is_allowed_or_our_own_goes_on(caplog):
    caplog.set_level(logging.WARNING, logger="usfmae")  # commands of other tests have lowered it
    heed_licence(start(Licence("MIT", True, "LICENSE")), encoder="usf-mae", use="commercial")
    heed_licence(start(FORBIDS, init="scratch"), encoder="resnet-50", use="commercial")
    assert caplog.text == ""
    heed_licence(start(None), encoder="vit", use="commercial")
    assert "the licence of these weights is not known here" in caplog.text


def test_a_plan_knows_the_licence_of_what_it_names():
    assert known_licence("efficientnet-lite0", "imagenet") == "Apache-2.0"
    assert known_licence("efficientnet-lite0", "scratch") == known_licence("vit", "some.pth") == ""


def evaluate(*words):
    return main(["evaluate", *map(str, words)])


def test_a_user_reads_the_licence_in_the_result(fake_bus_bra, tmp_path, capsys):
    vit = VisionTransformer(ViTConfig(size="ti", image_px=16, patch_px=8, channels=3))
    torch.save({"model": vit.state_dict()}, tmp_path / "usf-mae.pt")
    words = ("--task", "bus-bra", "--data", fake_bus_bra, "--set", "task.folds=[2]", "--set", "image_px=16")
    words = (*words, "--set", "bootstrap.num_resamples=100", "--set", "use=commercial")
    mae = (*words, "--encoder", "usf-mae", "--weights", tmp_path / "usf-mae.pt", "--out", tmp_path / "knn")
    assert evaluate("knn", *mae) == 0
    result = read_json(tmp_path / "knn/result.json")
    assert (result["encoder"], result["init"], result["licence"]) == ("usf-mae", "pretrained", "MIT")
    assert capsys.readouterr().err.count("usf-mae: weights under MIT") == 1
    page = (tmp_path / "knn/report.html").read_text()
    assert page.count("Licence of the weights: MIT.") == 1
    assert "<dt>Epochs</dt>" not in page


@pytest.mark.parametrize("name", ["mae_pretrain_vit_base.pth", "mae_visualize_vit_large_ganloss.pth"])
def test_who_sells_cannot_use_imagenets_mae_under_its_own_name(name, fake_bus_bra, tmp_path, capsys):
    vit = VisionTransformer(ViTConfig(size="ti", image_px=16, patch_px=8, channels=3))
    torch.save({"model": vit.state_dict()}, tmp_path / name)
    words = (
        "--task",
        "bus-bra",
        "--data",
        fake_bus_bra,
        "--weights",
        tmp_path / name,
        "--out",
        tmp_path / "r",
    )
    assert evaluate("knn", *words, "--set", "use=commercial") == 2
    assert "vit: the licence of its weights forbids commercial use (CC BY-NC 4.0" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()
    assert known_licence("vit", name) == known_licence("", f"weights/{name}") == "CC BY-NC 4.0"


def test_imagenets_mae_is_known_by_its_bytes_under_any_name(tmp_path, monkeypatch):
    # The published file is 343 MB; the digest of a small one stands in for the three of MAE's README.
    file, other = tmp_path / "base.pth", tmp_path / "other.pth"
    file.write_bytes(b"as published")
    other.write_bytes(b"own")
    assert (licence_of_vit(file), licence_of_vit(tmp_path), licence_of_vit(tmp_path / "gone.pth")) == (
        None,
    ) * 3
    monkeypatch.setattr(licences, "MAE_MD5", (hashlib.md5(b"as published").hexdigest()[:6],))
    assert (licence_of_vit(file), licence_of_vit(other)) == (MAE, None)


def test_a_user_who_sells_cannot_use_weights_that_forbid_it(fake_bus_bra, tmp_path, capsys):
    encoder = BeitEncoder(BeitConfig(dim=24, num_layers=1, num_heads=2, image_px=32))
    state = dict(encoder.state_dict())
    bias = state.pop("blocks.0.attn.qkv.bias")
    state["blocks.0.attn.q_bias"], _, state["blocks.0.attn.v_bias"] = bias.chunk(3)
    torch.save(state, tmp_path / "usfm.pth")
    words = ("--task", "bus-bra", "--data", fake_bus_bra, "--encoder", "usfm", "--set", "task.folds=[2]")
    words = (*words, "--set", "bootstrap.num_resamples=100", "--weights", tmp_path / "usfm.pth")
    assert evaluate("knn", *words, "--out", tmp_path / "knn", "--set", "use=commercial") == 2
    error = capsys.readouterr().err
    assert "usfm: the licence of its weights forbids commercial use (CC BY-NC 4.0" in error
    assert not (tmp_path / "knn").exists()
    assert evaluate("knn", *words, "--out", tmp_path / "knn") == 0
    assert read_json(tmp_path / "knn/result.json")["licence"] == "CC BY-NC 4.0"
    words = (*words, "--set", "epochs=1", "--set", "batch=8", "--set", "loop.precision=fp32")
    assert evaluate("finetune", *words, "--out", tmp_path / "sold", "--set", "use=commercial") == 2
    assert evaluate("finetune", *words, "--out", tmp_path / "tuned") == 0
    assert read_json(tmp_path / "tuned/result.json")["licence"] == "CC BY-NC 4.0"


def test_a_published_encoder_needs_its_file():
    with pytest.raises(SettingError, match="usf-mae comes from its published file, not from 'scratch'"):
        open_start("scratch", network=NETWORK, encoder="usf-mae")
