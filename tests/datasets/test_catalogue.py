"""One battery for all sets: what a card promises is what its fake, its reader and a corpus give."""

import shutil

import numpy as np
import pytest

from usfmae.base.errors import DatasetError, SettingError
from usfmae.corpus.build import build_corpus
from usfmae.corpus.config import BuildConfig
from usfmae.corpus.shards import open_corpus
from usfmae.corpus.sources import Source
from usfmae.datasets.card import all_cards
from usfmae.datasets.fake import fake_dataset
from usfmae.datasets.fake_pictures import HEIGHT_PX, WIDTH_PX
from usfmae.datasets.files_layout import FilesLayout
from usfmae.datasets.registry import read_dataset
from usfmae.datasets.splits import check_no_leak, official_splits

NUM_PATIENTS = 24
CARDS = {name: card for name, card in all_cards().items() if name != "folder"}
READABLE = [name for name, card in CARDS.items() if card.layout is not None]
SIZE = (HEIGHT_PX, WIDTH_PX)


@pytest.fixture(scope="module", params=READABLE)
def fake(request, tmp_path_factory):
    root = fake_dataset(
        request.param, tmp_path_factory.mktemp("fake") / request.param, num_patients=NUM_PATIENTS
    )
    yield CARDS[request.param], root, read_dataset(request.param, root)
    shutil.rmtree(root)


def test_all_46_have_a_card_and_a_reader():
    numbers = sorted(card.openus46_index for card in CARDS.values() if card.openus46_index is not None)
    assert numbers == list(range(1, 47))
    assert all(card.layout is not None for card in CARDS.values() if card.openus46_index is not None)


def test_groups_are_what_the_card_promises(fake):
    card, _, found = fake
    assert found.group_kind == card.group_by
    assert len(found) >= NUM_PATIENTS
    if found.group_kind == "patient":
        one_image_each = card.id == "gist514-db"
        assert found.num_groups == (len(found) if one_image_each else NUM_PATIENTS)
    assert all(item.group and item.path.is_file() for item in found.items)
    assert len({(item.path, item.frame) for item in found.items}) == len(found)


def test_every_class_of_the_card_is_there(fake):
    card, _, found = fake
    if card.classes is None:
        return
    assert found.classes == card.class_names
    assert set(found.labels.tolist()) == set(range(len(card.classes)))


def test_label_maps_line_up_and_hold_every_structure(fake):
    card, _, found = fake
    seen: dict[tuple, set] = {}
    for item in found.items:
        for label_map in item.masks:
            labels = label_map.read(SIZE)
            assert labels.shape[-2:] == SIZE
            seen.setdefault(label_map.meaning.structures, set()).update(np.unique(labels).tolist())
    for structures, labels in seen.items():
        assert labels == set(range(len(structures) + 1)), (card.id, structures)
    layout = card.layout
    if isinstance(layout, FilesLayout):
        promised = {
            masks.meaning.structures for part in layout.parts if not part.optional for masks in part.masks
        }
        assert set(seen) == promised
        assert all(item.masks for item in found.items) or not promised


def test_splits_are_disjoint_and_part_no_group(fake):
    _, _, found = fake
    for split in official_splits(found):
        sides = [set(side.tolist()) for side in (split.train, split.val, split.test)]
        assert all(sides)
        assert sum(map(len, sides)) == len(set.union(*sides))
        check_no_leak(split, found.groups)


def test_a_corpus_takes_every_frame_with_its_group(fake, tmp_path):
    card, root, found = fake
    build_corpus(
        [Source(card.id, root, dataset=card.id)],
        out=tmp_path / "corpus",
        config=BuildConfig(size_px=32),
        workers=1,
    )
    corpus = open_corpus(tmp_path / "corpus")
    rows = corpus.manifest.to_pylist()
    assert {row["path"] for row in rows} == {item.name for item in found.items}
    groups = {item.name: f"{card.id}/{item.group}" for item in read_dataset(card.id, root).items}
    if found.group_kind in ("patient", "clip"):
        assert all(row["group"] == groups[row["path"]] for row in rows)
    clips = sum(item.media != "image" for item in found.items)
    assert len(rows) > len(found) if clips else len(rows) == len(found)


@pytest.mark.parametrize("name", [name for name in CARDS if name not in READABLE])
def test_an_unknown_layout_is_said_and_not_guessed(name, tmp_path):
    with pytest.raises(SettingError, match="how its files lie is not known"):
        fake_dataset(name, tmp_path / "fake")
    with pytest.raises(DatasetError, match="how its files lie is not known"):
        read_dataset(name, tmp_path)
