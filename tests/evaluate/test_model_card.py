"""`usfmae card`: weights in half precision and what is said of them."""

import json
import re

import pytest
import torch
from fake_folders import made_by
from small_card import FREE, MINE, NOT_SOLD, SILENT, finished_run, result_of, source
from small_shelf import SIDE, tiny_vit

import usfmae
from usfmae.base.errors import CorpusError, FolderError, SettingError, WeightsError
from usfmae.base.files import file_sha256
from usfmae.base.input_spec import InputSpec
from usfmae.evaluate.card_files import write_card
from usfmae.evaluate.card_start import shortened
from usfmae.evaluate.card_text import interval_words, seen_words, way_words
from usfmae.evaluate.model_card import is_licence_clean, least_cosine
from usfmae.models.shipped import card_of
from usfmae.models.weights import read_state, save_encoder


def card(tmp_path, run, **changes):
    return write_card(run, name="usfmae_s16", out=tmp_path / "shelf", **changes)


def test_the_files_belong_together_and_can_be_loaded_by_name(tmp_path, monkeypatch):
    content = card(tmp_path, finished_run(tmp_path))
    shelf = tmp_path / "shelf"
    names = [f"usfmae_s16.{end}" for end in ("html", "json", "md", "safetensors")]
    assert sorted(path.name for path in shelf.iterdir()) == names
    assert content == json.loads((shelf / "usfmae_s16.json").read_text())
    assert content["file"]["sha256"] == file_sha256(shelf / "usfmae_s16.safetensors")
    assert content["file"]["least_cosine_to_fp32"] > 0.9999
    monkeypatch.setenv("USFMAE_PRETRAINED", str(shelf))
    said = str(usfmae.load("usfmae_s16"))
    assert "30 images (busi); ultrasound only, from a random start" in said
    assert "held out   bus-bra" in said


def test_the_card_is_what_the_records_say(tmp_path):
    run = finished_run(tmp_path, sources=(MINE, source("busi", 30, FREE, dataset="busi", anatomy="breast")))
    content = card(tmp_path, run)
    assert (content["trained_on"], content["held_out"]) == (["busi", "mine"], ["bus-bra"])
    assert content["data"]["by_anatomy"] == {"not stated": 70, "breast": 30}
    assert content["data"]["num_images"] == 100
    assert content["data"]["pools"][0]["left_out"] == {"near_duplicate": 4}
    assert content["num_parameters"] == 5_400_000
    assert content["run"]["images_seen"] == 20 * 16
    facts = {name: content["run"][name] for name in ("seed", "seconds", "device", "peak_memory_gb", "commit")}
    assert facts == {
        "seed": 3, "seconds": 75.0, "device": "cpu", "peak_memory_gb": 1.25, "commit": "abc123def456",
    }  # fmt: skip
    assert content["run"]["command"][-3:] == ["pool", "--watch", f"busi={tmp_path.name}"]


def test_no_folder_of_this_machine_is_in_the_files(tmp_path):
    run = finished_run(tmp_path)
    card(tmp_path, run, results=[result_of(run, tmp_path / "results" / "knn")])
    for end in ("json", "md", "html"):
        words = (tmp_path / "shelf" / f"usfmae_s16.{end}").read_text()
        assert str(tmp_path) not in words
        assert "/home/" not in words


def test_words_of_a_command_lose_their_folders():
    assert shortened(["usfmae", "--out", "/a/b", "bus=/c/d", "~/x", "--set", "a.b=1"]) == [
        "usfmae", "--out", "b", "bus=d", "x", "--set", "a.b=1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("terms", "of_source", "commercial", "words", "clean"),
    [
        (FREE, FREE, True, "(commercial use, sharing, derivatives)", True),
        (NOT_SOLD, NOT_SOLD, False, "no commercial use; forbidden by one)", False),
        (SILENT, SILENT, None, "unknown; not stated by one)", False),
    ],
)
def test_the_licence_of_weights_follows_from_the_terms_of_their_images(
    tmp_path, terms, of_source, commercial, words, clean
):
    content = card(tmp_path, finished_run(tmp_path, terms=terms, sources=(source("one", 5, of_source),)))
    assert content["licence"]["commercial"] is commercial
    assert words in content["licence"]["words"]
    assert is_licence_clean(content) is clean
    page = (tmp_path / "shelf" / "usfmae_s16.md").read_text()
    assert ("every licence of its images allows" in page) is clean


def test_the_average_of_a_run_is_taken_if_asked_for_and_the_card_says_which_was(tmp_path):
    run = finished_run(tmp_path, made_by=averaging(0.999))
    average = run / "weights_ema.safetensors"
    save_encoder(average, tiny_vit(seed=1), input_spec=InputSpec(image_px=SIDE))
    last, own = (
        write_card(run, name=n, out=tmp_path / "shelf", averaged=n == "own") for n in ("last", "own")
    )
    assert (last["file"]["made_from"], last["file"]["average"]) == ("weights.safetensors", None)
    assert (own["file"]["made_from"], own["file"]["average"]) == (average.name, {"decay": 0.999})
    assert own["file"]["made_from_sha256"] == file_sha256(average)
    made = read_state(tmp_path / "shelf" / "own.safetensors")[0]["blocks.0.mlp.fc1.weight"]
    assert torch.equal(made, tiny_vit(seed=1).blocks[0].mlp.fc1.weight.half().float())
    said = {name: (tmp_path / "shelf" / f"{name}.md").read_text() for name in ("last", "own")}
    assert "weights.safetensors, the weights after the last step of the run, fp32" in said["last"]
    assert (
        "the moving average of the run's weights (0.999 of it stays in a step of 256 images)" in said["own"]
    )


def test_numbers_of_the_last_weights_are_not_those_of_the_average(tmp_path):
    run = finished_run(tmp_path)
    result = result_of(run, tmp_path / "knn")
    with pytest.raises(WeightsError, match=r"has kept no average of its weights \(no weights_ema") as caught:
        card(tmp_path, run, averaged=True)
    assert "--set ema.decay=0.999" in caught.value.hint
    average = run / "weights_ema.safetensors"
    save_encoder(average, tiny_vit(seed=1), input_spec=InputSpec(image_px=SIDE))
    with pytest.raises(WeightsError, match="was made with other weights"):
        card(tmp_path, run, averaged=True, results=[result])
    mine = result_of(run, tmp_path / "ema", weights_sha256=file_sha256(average))
    assert len(card(tmp_path, run, averaged=True, results=[mine])["numbers"]) == 1


def averaging(decay):
    return made_by("pretrain", {"seed": 3, "global_batch": 16, "ema": {"decay": decay}})


def test_numbers_have_intervals_patients_and_what_was_seen(tmp_path):
    run = finished_run(tmp_path)
    content = card(tmp_path, run, results=[result_of(run, tmp_path / "knn")])
    (entry,) = content["numbers"]
    assert entry["metrics"] == {"macro_f1": {"value": 0.5, "low": 0.4, "high": 0.6}}
    assert (entry["num_patients"], entry["from"]["file"]) == (5, "knn/result.json")
    page = (tmp_path / "shelf" / "usfmae_s16.md").read_text()
    assert (
        "| bus-bra | Nearest neighbours | Macro-F1 0.500 [0.400, 0.600] | 9 images of 5 patients | 1 split, "
        "1 seed | 0 of 9 test images; 1 more look like one |" in page
    )


def test_numbers_of_other_weights_are_refused(tmp_path):
    run = finished_run(tmp_path)
    other = result_of(run, tmp_path / "other", weights_sha256="beef" * 16)
    with pytest.raises(WeightsError, match=r"other: was made with other weights \(beefbeef"):
        card(tmp_path, run, results=[other])
    with pytest.raises(FolderError, match=r"holds neither result\.json nor comparison\.json"):
        card(tmp_path, run, results=[tmp_path])
    assert not (tmp_path / "shelf").exists()  # refused before anything is written


def test_numbers_of_the_half_file_count_when_the_card_is_made_again(tmp_path):
    run = finished_run(tmp_path)
    sha256 = card(tmp_path, run)["file"]["sha256"]
    again = card(
        tmp_path, run, results=[result_of(run, tmp_path / "knn", weights_sha256=sha256)], overwrite=True
    )
    assert again["file"]["sha256"] == sha256
    assert len(again["numbers"]) == 1


def comparison(root, run, *, ours="A ViT"):
    """Two contenders on two splits, the first with the weights of the run."""
    for encoder, weights in ((ours, None), ("B", "beef" * 16)):
        for split, seen in (("fold-1", 1), ("fold-2", 2)):
            place = root / "cells" / "bus-bra" / split / encoder.replace(" ", "-") / "linear-probe-10pc"
            found = {"checked": True, "test_images_in_pool": seen, "near_duplicates_in_pool": 0, "of": 5}
            more = {} if weights is None else {"weights_sha256": weights}
            result_of(run, place / "seed-0", split={"name": split}, contamination=found, **more)
    metric = {"value": 0.5, "low": 0.4, "high": 0.6}
    entries = [
        {"task": "bus-bra", "encoder": name, "way": "linear-probe 10%", "seeds": [0], "num_images": 10,
         "num_patients": 6, "metrics": {"macro_f1": metric}}
        for name in (ours, "B")
    ]  # fmt: skip
    one = {"task": "bus-bra", "way": "linear-probe 10%", "first": "B", "rival": ours, "metric": "macro_f1",
           "difference": {"value": 0.1, "low": -0.1, "high": 0.3}, "p_holm": 0.0004}  # fmt: skip
    (root / "comparison.json").write_text(json.dumps({"entries": entries, "comparisons": [one]}))
    return root


def test_of_a_comparison_only_its_own_rows_are_taken_and_differences_are_turned_round(tmp_path):
    run = finished_run(tmp_path)
    content = card(tmp_path, run, results=[comparison(tmp_path / "plan", run)])
    (entry,) = content["numbers"]
    assert entry["way"] == "linear-probe 10%"
    assert entry["contamination"] == {
        "checked": True, "test_images_in_pool": 3, "near_duplicates_in_pool": 0, "of": 10,
    }  # fmt: skip
    (against,) = entry["against"]
    assert against["rival"] == "B"
    assert against["difference"] == {"value": -0.1, "low": -0.3, "high": 0.1}
    page = (tmp_path / "shelf" / "usfmae_s16.md").read_text()
    assert "| bus-bra | Linear probe 10% | B | -0.100 [-0.300, +0.100], p < 0.001 | – |" in page


def test_a_comparison_without_these_weights_is_refused(tmp_path):
    run = finished_run(tmp_path)
    folder = comparison(tmp_path / "plan", run)
    for cell in folder.glob("cells/*/*/A-ViT/*/seed-0/result.json"):
        cell.write_text(cell.read_text().replace(file_sha256(run / "weights.safetensors"), "0" * 64))
    with pytest.raises(WeightsError, match="none of its contenders has these weights"):
        card(tmp_path, run, results=[folder])


def test_limits_are_told_from_the_facts(tmp_path):
    run = finished_run(tmp_path, sources=(MINE, source("busi", 30, FREE, dataset="busi", anatomy="breast")))
    results = [
        result_of(run, tmp_path / "a"),
        result_of(run, tmp_path / "b", task="busi", contamination={"checked": False, "why": "w"}),
    ]
    said = "\n".join(card(tmp_path, run, results=results)["limits"])
    for sentence in (
        "Learnt on 100 pictures of 12 groups", "70 % of the pictures are of one source, mine.",
        "Anatomies it has seen: breast 30; not stated for 70.", "GE LOGIQ E9",
        "Devices are not known of: mine.", "4 near-duplicates were left out",
        "It sees 32 x 32 px: of a picture 1,000 px wide a structure of 250 px",
        "Burned-in text", "Measured on bus-bra, busi;", "Kept out of training by content: bus-bra.",
        "trained on pictures of busi, perhaps on those it was tested on",
    ):  # fmt: skip
        assert sentence in said
    absent = re.search(r"it has not seen, unless among those not stated: (.+)\.", said)
    assert absent is not None
    assert "heart" in absent[1]
    assert "breast" not in absent[1]


def test_without_results_the_card_says_that_nothing_was_measured(tmp_path):
    content = card(tmp_path, finished_run(tmp_path))
    assert any("No result was given to this card" in limit for limit in content["limits"])
    assert "no result was given" in (tmp_path / "shelf" / "usfmae_s16.md").read_text().lower()


def test_a_corpus_that_has_moved_is_named_and_another_is_not_taken_for_it(tmp_path):
    run = finished_run(tmp_path)
    (tmp_path / "pool").rename(tmp_path / "elsewhere")
    with pytest.raises(CorpusError, match=r"SHA-256 feedfeedfeed\) is not there") as caught:
        card(tmp_path, run)
    assert "--corpus DIR" in caught.value.hint
    assert card(tmp_path, run, corpora=[tmp_path / "elsewhere"])["data"]["pools"][0]["folder"] == "elsewhere"
    other = json.loads((tmp_path / "elsewhere" / "corpus.json").read_text()) | {"sha256": "0" * 64}
    (tmp_path / "elsewhere" / "corpus.json").write_text(json.dumps(other))
    with pytest.raises(CorpusError, match="is not there"):
        card(tmp_path, run, corpora=[tmp_path / "elsewhere"], overwrite=True)
    with pytest.raises(CorpusError, match="is no corpus"):
        card(tmp_path, run, corpora=[tmp_path], overwrite=True)


def test_a_corpus_that_was_built_anew_in_its_place_is_not_taken_for_it(tmp_path):
    run = finished_run(tmp_path)
    file = tmp_path / "pool" / "corpus.json"
    file.write_text(file.read_text().replace("feed" * 16, "beef" * 16))
    with pytest.raises(CorpusError, match=r"SHA-256 feedfeedfeed\) is not there"):
        card(tmp_path, run)


def test_what_is_no_finished_run_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"holds no run\.json"):
        card(tmp_path, tmp_path)
    with pytest.raises(WeightsError, match="is running, not finished"):
        card(tmp_path, finished_run(tmp_path, status="running"))
    with pytest.raises(WeightsError, match="is not a run of pretraining"):
        card(tmp_path, finished_run(tmp_path / "e", made_by={"stage": "evaluate finetune"}))


@pytest.mark.parametrize("name", ["Usfmae", "a-b", "scratch", "../x", "", "default"])
def test_a_name_that_would_mean_something_else_is_refused(tmp_path, name):
    with pytest.raises(SettingError, match="cannot name weights"):
        write_card(finished_run(tmp_path), name=name, out=tmp_path / "shelf")


def test_files_are_not_replaced_unasked_and_a_kill_between_them_leaves_no_wrong_pair(tmp_path, monkeypatch):
    run = finished_run(tmp_path)
    card(tmp_path, run)
    with pytest.raises(FolderError, match=r"usfmae_s16\.json: exists already"):
        card(tmp_path, run)
    monkeypatch.setattr("usfmae.evaluate.card_files.make_card", lambda **_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        card(tmp_path, run, overwrite=True)
    assert card_of(tmp_path / "shelf" / "usfmae_s16.safetensors") is None


def test_cosines_by_hand():
    import numpy as np

    one = np.array([[1.0, 0.0], [3.0, 4.0]])
    assert least_cosine(one, np.array([[2.0, 0.0], [4.0, 3.0]])) == pytest.approx(24 / 25)


def test_words_of_numbers():
    assert interval_words({"value": 0.5, "low": None, "high": None}) == "0.500"
    assert interval_words({"value": None, "low": None, "high": None}) == "–"
    assert way_words("linear-probe 5 per class") == "Linear probe 5 per class"
    assert seen_words({"checked": False, "why": "x"}) == "not checked: x"
