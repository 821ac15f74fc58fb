"""benchmarks/weights.py: the rival from scratch is the network of the first encoder, whichever that is."""

import importlib
from pathlib import Path

import pytest
import torch
from small_shelf import SIDE, put_on_shelf

from usfmae.base.config import with_settings
from usfmae.base.input_spec import InputSpec
from usfmae.evaluate.methods import METHODS
from usfmae.evaluate.plan import PlanEncoder
from usfmae.evaluate.start import open_start
from usfmae.models.encoders import CnnConfig, build_cnn, encoder_record, start_cnn
from usfmae.models.weights import save_encoder

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("weights")


def test_a_vit_from_scratch_has_the_shape_of_the_first_encoder(study, tmp_path):
    file = put_on_shelf(tmp_path / "fold-1")
    assert study.from_scratch(str(file)) == {"name": "ViT scratch", "weights": "scratch", "like": str(file)}
    pattern = str(tmp_path / "{split}" / file.name)
    assert study.from_scratch(pattern)["like"] == pattern
    with pytest.raises(SystemExit, match="there are no such weights"):
        study.from_scratch(str(tmp_path / "{split}" / "gone.safetensors"))


def test_a_convolutional_network_from_scratch_is_that_network_at_the_same_input(study, tmp_path):
    cnn = build_cnn(CnnConfig(name="efficientnet-lite0", channels=3))
    start_cnn(cnn, torch.Generator().manual_seed(0))
    file = tmp_path / "weights.safetensors"
    save_encoder(file, cnn, input_spec=InputSpec(image_px=SIDE, channels=3))
    vits = [str(put_on_shelf(tmp_path / name)) for name in ("one", "two")]
    rivals = study.scratch_rivals([vits[0], str(file), vits[1]])
    assert [(rival["name"], rival.get("like")) for rival in rivals] == [
        ("ViT scratch", vits[0]), ("EfficientNet-Lite0 scratch", None),
    ]  # fmt: skip
    made = PlanEncoder(**study.from_scratch(str(file)))
    assert (made.encoder, made.weights, made.like) == ("efficientnet-lite0", "scratch", None)
    way = METHODS["linear-probe"]
    config = with_settings(way.defaults("scratch", made.encoder), [*made.settings])
    start = open_start("scratch", network=config.network, encoder=made.encoder, image_px=config.image_px)
    assert encoder_record(start.encoder) == encoder_record(cnn)
    assert start.input_spec.size_px == (SIDE, SIDE)
    assert start.init == "scratch"
