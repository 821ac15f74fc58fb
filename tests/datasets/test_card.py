from importlib import resources

import pytest
import yaml
from pydantic import ValidationError

from usfmae.base.errors import SettingError
from usfmae.datasets.card import all_cards, card_from_yaml
from usfmae.datasets.registry import dataset_names, get_card


def card_text(name: str) -> str:
    return (resources.files("usfmae.datasets") / "cards" / f"{name}.yaml").read_text()


def test_four_datasets_are_known():
    assert {"bus-bra", "busi", "folder", "mmotu-2d", "camus"} <= set(dataset_names())


@pytest.mark.parametrize("name", dataset_names())
def test_every_fact_is_written_and_unknown_is_null(name):
    written = yaml.safe_load(card_text(name))
    assert all_cards()[name].id == name
    for fact in written:
        others = yaml.dump({key: written[key] for key in written if key != fact}, Dumper=yaml.CSafeDumper)
        with pytest.raises(SettingError, match=rf"there\.yaml: {fact}: Field required"):
            card_from_yaml(others, place="there.yaml")


def test_published_counts():
    # From the papers: 1,268 + 607 breast images; eight ovarian classes of 1,469; 437 + 210 + 133.
    assert [get_card(name).counts.images for name in ("bus-bra", "mmotu-2d", "busi")] == [1875, 1469, 780]
    assert get_card("bus-bra").class_names == ("benign", "malignant")
    assert len(get_card("mmotu-2d").class_names or ()) == 8
    assert get_card("folder").class_names is None


def test_a_typo_names_the_nearest_dataset():
    with pytest.raises(SettingError, match="busbra: no such dataset") as error:
        get_card("busbra")
    assert error.value.hint == "did you mean bus-bra?"


def test_a_card_is_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        get_card("busi").title = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("images: 437", "images: 436", "classes add up to 779 images, counts.images is 780"),
        ("kind: class-folders", "kind: class-folder", "layout: .*class-folder"),
        ("mask_suffix:", "mask_sufix:", "mask_sufix: Extra inputs are not permitted"),
        ("level: open", "level: free", r"access\.level: .*\(got 'free'\)"),
        ("id: busi", "id: BUSI", r"id: .*\(got 'BUSI'\)"),
        ("id: busi", "id: [", "is no YAML"),
    ],
)
def test_a_card_that_makes_no_sense_is_refused(old, new, message):
    assert old in card_text("busi")
    with pytest.raises(SettingError, match=rf"^busi\.yaml: .*{message}"):
        card_from_yaml(card_text("busi").replace(old, new, 1), place="busi.yaml")


def test_a_list_is_no_card():
    with pytest.raises(SettingError, match="is not a table of facts"):
        card_from_yaml("- a\n- b\n", place="x.yaml")
