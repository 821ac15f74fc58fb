"""Where a card says that weights began, who taught them, and what follows for what may be done with them."""

import json

import pytest
from small_card import FREE, NOT_SOLD, SILENT, finished_run, source
from small_shelf import SIDE, put_on_shelf, tiny_vit

from usfmae.base.input_spec import InputSpec
from usfmae.evaluate.card_files import write_card
from usfmae.evaluate.model_card import is_licence_clean
from usfmae.models.licences import LICENCES
from usfmae.models.weights import save_encoder

LITE = "efficientnet-lite0-57934424.pth, published weights of efficientnet-lite0 (Apache-2.0)"
RESNET = f"resnet50-0676ba61.pth, published weights of resnet-50 ({LICENCES['resnet-50'].words})"
UNKNOWN = "mine.pth, a file of resnet-50 of unknown pretraining"
OF_LITE = {
    "name": "efficientnet-lite0", "licence": "Apache-2.0", "commercial": True, "photographs_only": True,
}  # fmt: skip
NOT_KNOWN = {"licence": "not known", "commercial": None, "photographs_only": False}


def card(folder, run):
    return write_card(run, name="a", out=folder / "shelf")


def begun(folder, note, **changes):
    """A run whose weights say what it began from."""
    run = finished_run(folder, weights={"file": "imagenet"}, **changes)
    file, spec = run / "weights.safetensors", InputSpec(image_px=SIDE)
    save_encoder(file, tiny_vit(), input_spec=spec, notes={"started_from": note})
    return run


@pytest.mark.parametrize("file", ["", "weights.safetensors", "weights_ema.safetensors"])
def test_what_it_began_from_is_followed_back(tmp_path, file):
    first = finished_run(tmp_path, name="first")
    named = str(first / file) if file else str(first)
    again = finished_run(tmp_path, name="again", weights={"file": named, "loaded": {}, "decoder": {}})
    start = card(tmp_path, again)["start"]
    assert start["words"] == "went on from the run first (ultrasound only, from a random start)"
    assert (start["ultrasound_only"], start["foreign"]) == (True, [])


def test_free_images_alone_do_not_make_it_free_after_a_start_that_nobody_knows(tmp_path):
    content = card(tmp_path, finished_run(tmp_path, weights={"file": "/x/some.pth"}))
    assert content["start"]["words"] == "went on from some.pth, whose images no record at hand tells"
    assert content["start"]["ultrasound_only"] is None
    assert content["start"]["foreign"] == [{"name": "some.pth", **NOT_KNOWN}]
    assert content["licence"]["commercial"] is None
    assert not is_licence_clean(content)


@pytest.mark.parametrize(
    ("note", "of_images", "commercial"),
    [
        (LITE, FREE, True),
        (LITE, NOT_SOLD, False),
        (LITE, SILENT, None),
        (RESNET, FREE, None),
        (RESNET, NOT_SOLD, False),
        (UNKNOWN, FREE, None),
    ],
)
def test_published_weights_at_the_beginning_bring_their_own_terms(tmp_path, note, of_images, commercial):
    run = begun(tmp_path, note, terms=of_images, sources=(source("one", 5, of_images),))
    content = card(tmp_path, run)
    assert content["licence"]["commercial"] is commercial
    assert not is_licence_clean(content)  # which is said of ultrasound-only weights alone


def test_a_start_from_imagenet_is_said_wherever_the_card_is_read(tmp_path):
    content = card(tmp_path, begun(tmp_path, LITE))
    assert content["start"]["words"] == f"began from ImageNet: {LITE}"
    assert (content["start"]["ultrasound_only"], content["start"]["foreign"]) == (False, [OF_LITE])
    assert content["licence"]["words"].endswith(
        "began from or was taught by: efficientnet-lite0 (Apache-2.0)"
    )
    for end in ("md", "html"):
        page = (tmp_path / "shelf" / f"a.{end}").read_text()
        assert "began from ImageNet" in page
        assert "Apache-2.0; commercial use allowed" in page
    assert "| Commercial use of the weights | allowed |" in (tmp_path / "shelf" / "a.md").read_text()


def test_a_file_of_unknown_pretraining_is_not_called_imagenets(tmp_path):
    start = card(tmp_path, begun(tmp_path, UNKNOWN))["start"]
    assert start["words"] == f"went on from {UNKNOWN}"
    assert start["ultrasound_only"] is None
    assert start["foreign"] == [{"name": "mine.pth", **NOT_KNOWN}]


@pytest.mark.parametrize("at_hand", [True, False])
def test_a_second_run_still_says_imagenet_with_the_first_at_hand_and_without(tmp_path, at_hand):
    first = begun(tmp_path, LITE, name="first")
    run = begun(tmp_path / "b", LITE)
    record = json.loads((run / "run.json").read_text())
    record["weights"]["file"] = str(first) if at_hand else "/gone/first"
    (run / "run.json").write_text(json.dumps(record))
    content = card(tmp_path, run)
    began = f"began from ImageNet: {LITE}"
    assert content["start"]["words"] == (f"went on from the run first ({began})" if at_hand else began)
    assert content["start"]["foreign"] == [OF_LITE]
    assert content["licence"]["commercial"] is True


def test_a_vit_that_began_from_imagenets_mae_may_not_be_sold(tmp_path):
    content = card(tmp_path, finished_run(tmp_path, weights={"file": "/x/mae_pretrain_vit_base.pth"}))
    assert content["start"]["words"].startswith(
        "began from ImageNet: mae_pretrain_vit_base.pth (MAE, CC BY-NC"
    )
    assert content["start"]["ultrasound_only"] is False
    assert content["licence"]["commercial"] is False


@pytest.mark.parametrize(
    ("start", "commercial"),
    [
        ({"words": "w", "ultrasound_only": True}, True),
        ({"words": "w", "ultrasound_only": False, "foreign": [OF_LITE]}, True),
        ({"words": "w", "ultrasound_only": False}, None),  # of a card that does not name what it began from
    ],
)
def test_what_began_from_a_card_has_the_terms_of_that_cards_start(tmp_path, start, commercial):
    file = put_on_shelf(tmp_path / "other", start=start)
    content = card(tmp_path, finished_run(tmp_path, weights={"file": str(file)}))
    assert content["start"]["words"] == "went on from usfmae_s16 (w)"
    assert content["start"]["ultrasound_only"] is start["ultrasound_only"]
    assert content["licence"]["commercial"] is commercial


def teacher(encoder, sha256, **changes):
    return {
        "kind": "file", "encoder": encoder, "trained_on": "ImageNet", "file": "/x/y.pth", "sha256": sha256,
    } | changes  # fmt: skip


def test_a_teacher_from_imagenet_is_named_and_it_is_no_longer_ultrasound_only(tmp_path):
    content = card(tmp_path, finished_run(tmp_path, teacher=teacher("efficientnet-lite0", "57934424" * 8)))
    words = "from a random start; taught by efficientnet-lite0, trained on ImageNet"
    assert content["start"]["words"] == words
    assert (content["start"]["ultrasound_only"], content["start"]["foreign"]) == (False, [OF_LITE])
    assert content["start"]["teacher"]["file"] == "y.pth"
    assert content["licence"]["commercial"] is True
    assert not is_licence_clean(content)


@pytest.mark.parametrize(
    ("encoder", "words", "commercial"),
    [
        ("efficientnet-lite0", "that went on from y.pth, whose images no record at hand tells", None),
        ("usfm", "taught by usfm", False),
        ("dinov2", "taught by dinov2", True),
        ("ultrasam", "taught by ultrasam", None),
    ],
)
def test_only_a_hash_makes_a_teacher_imagenets_and_each_brings_its_terms(
    tmp_path, encoder, words, commercial
):
    content = card(tmp_path, finished_run(tmp_path, teacher=teacher(encoder, "beef" * 16)))
    assert words in content["start"]["words"]
    assert "ImageNet" not in content["start"]["words"]
    assert content["start"]["ultrasound_only"] is not True
    assert content["licence"]["commercial"] is commercial


def test_its_own_average_or_a_run_on_ultrasound_is_no_foreign_teacher(tmp_path):
    own = card(tmp_path, finished_run(tmp_path, teacher={"kind": "self", "decay": 0.99}))
    assert own["start"]["words"] == "ultrasound only, from a random start; taught by its own average"
    assert is_licence_clean(own)
    first = finished_run(tmp_path / "b", name="first")
    for file, only in ((str(first), True), ("/x/unknown.pth", None)):
        run = finished_run(tmp_path / str(only), teacher={"kind": "file", "encoder": "vit", "file": file})
        content = card(tmp_path / str(only), run)
        assert content["start"]["ultrasound_only"] is only
        assert content["licence"]["commercial"] is only
