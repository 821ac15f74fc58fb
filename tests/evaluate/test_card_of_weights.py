"""What evaluation knows of weights that travel without their corpus: what their card says."""

import numpy as np
import pytest
from small_shelf import put_on_shelf

from usfmae.datasets.fake import fake_dataset
from usfmae.evaluate.contamination import PretrainingPool, check_contamination
from usfmae.evaluate.protocol import TaskConfig, load_task
from usfmae.evaluate.report_result import card_words
from usfmae.evaluate.start import open_start
from usfmae.models.shipped import card_of
from usfmae.models.vit import ViTConfig

NETWORK = ViTConfig(size="ti", image_px=32, patch_px=8)


@pytest.fixture(scope="module")
def busi(tmp_path_factory):
    root = fake_dataset("busi", tmp_path_factory.mktemp("busi") / "busi", num_patients=12)
    return load_task("busi", root, config=TaskConfig(size_px=32))


def said(task, folder, **changes):
    card = card_of(put_on_shelf(folder, **changes))
    return check_contamination(task, "pretrained", None, card=card)


def test_a_task_that_the_weights_were_trained_on_is_warned_of(busi, tmp_path, caplog):
    caplog.set_level("WARNING", logger="usfmae")
    found = said(busi, tmp_path / "a")
    assert (found["checked"], found["card"]["task_trained_on"]) == (False, True)
    assert "usfmae_s16 was trained on images of busi, says its card: numbers there" in caplog.text
    assert "was trained on images of busi, says" in card_words(found["card"], "busi")


def test_a_task_of_which_a_part_was_held_out_is_told_so(busi, tmp_path, caplog):
    caplog.set_level("WARNING", logger="usfmae")
    found = said(busi, tmp_path / "a", held_out=["busi"])
    assert found["card"]["task_trained_on"]
    assert found["card"]["task_held_out"]
    assert "told apart only with --corpus" in caplog.text
    assert "(a part was held out)" in card_words(found["card"], "busi")


def test_a_task_that_was_held_out_or_is_not_named_is_no_reason_to_warn(busi, tmp_path, caplog):
    caplog.set_level("WARNING", logger="usfmae")
    held = said(busi, tmp_path / "a", trained_on=["x"], held_out=["busi"])
    other = said(busi, tmp_path / "b", trained_on=["x"], held_out=[])
    assert caplog.text == ""
    assert "kept out of the training of usfmae_s16 by content" in card_words(held["card"], "busi")
    assert "does not name busi: trained on x." in card_words(other["card"], "busi")


def test_somebodys_own_folder_is_not_the_folder_of_a_card(tmp_path, caplog):
    caplog.set_level("WARNING", logger="usfmae")
    root = fake_dataset("folder", tmp_path / "folder", num_patients=12)
    task = load_task("folder", root, config=TaskConfig(size_px=32))
    found = said(task, tmp_path / "a", trained_on=["folder"], held_out=["folder"])
    assert (found["card"]["task_trained_on"], found["card"]["task_held_out"]) == (False, False)
    assert caplog.text == ""


def test_a_pool_at_hand_is_compared_with_whatever_the_network_is_called(busi, tmp_path):
    pool = PretrainingPool(frozenset(), np.zeros((1, 22, 22), dtype=np.uint8), "ab")
    card = card_of(put_on_shelf(tmp_path / "a"))
    found = check_contamination(busi, "imagenet", pool, card=card)  # a CNN that went on with ultrasound
    assert (found["checked"], found["test_images_in_pool"]) == (True, 0)
    assert found["card"]["name"] == "usfmae_s16"


def test_a_start_has_the_licence_of_its_card(tmp_path):
    file = put_on_shelf(tmp_path / "a")
    start = open_start(file, network=NETWORK)
    assert start.card is not None
    assert start.facts == {"init": "pretrained", "licence": "no commercial use"}
    assert open_start("scratch", network=NETWORK).card is None
