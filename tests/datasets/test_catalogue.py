"""One battery for all sets: what a card promises is what its fake, its reader and a corpus give."""

import shutil
from functools import cache

import numpy as np
import pytest

from usfmae.base.errors import DatasetError, SettingError
from usfmae.corpus.build import build_corpus
from usfmae.corpus.config import BuildConfig
from usfmae.corpus.shards import open_corpus
from usfmae.corpus.sources import Source
from usfmae.datasets.card import all_cards
from usfmae.datasets.fake import fake_dataset
from usfmae.datasets.fake_files import NUM_FRAMES
from usfmae.datasets.fake_pictures import HEIGHT_PX, WIDTH_PX, Picture, draw_pictures
from usfmae.datasets.files_layout import FilesLayout
from usfmae.datasets.record import Item
from usfmae.datasets.registry import read_dataset
from usfmae.datasets.splits import check_no_leak, official_splits
from usfmae.images.read import read_frame

NUM_PATIENTS = 24
CARDS = {name: card for name, card in all_cards().items() if name != "folder"}
READABLE = [name for name, card in CARDS.items() if card.layout is not None]
SIZE = (HEIGHT_PX, WIDTH_PX)
SHIFTS_PX = (0, 3)


@pytest.fixture(scope="module", params=READABLE)
def fake(request, tmp_path_factory):
    root = fake_dataset(
        request.param, tmp_path_factory.mktemp("fake") / request.param, num_patients=NUM_PATIENTS
    )
    yield CARDS[request.param], root, read_dataset(request.param, root)
    shutil.rmtree(root)


@cache
def pictures(num_classes: int) -> tuple[list[Picture], np.ndarray]:
    """What is drawn for so many classes, and the pixels of each as it is and 3 px further to the right."""
    drawn = list(draw_pictures(NUM_PATIENTS, num_classes, seed=0, near_duplicates=0, leaking_patients=0))
    pixels = np.stack([picture.pixels for picture in drawn]).astype(np.float32)
    return drawn, np.stack([np.roll(pixels, shift, axis=2) for shift in SHIFTS_PX])


def shown(item: Item, num_classes: int) -> tuple[Picture, int]:
    """The drawn picture that a file shows, told by its pixels alone, and how far it is shifted to the right.

    No card or reader is asked: a label or patient that a reader swaps is not what was drawn.
    """
    pixels = np.asarray(read_frame(item.path, item.frame or 0, key=item.array).pixels, dtype=np.float32)
    pixels = pixels[..., 0] if pixels.ndim == 3 else pixels
    pixels = pixels * 255 if pixels.max() <= 1 else pixels
    drawn, candidates = pictures(num_classes)
    off = np.abs(candidates[: len(SHIFTS_PX) if item.array else 1] - pixels).mean(axis=(2, 3))
    shift, number = np.unravel_index(off.argmin(), off.shape)
    # JPEG and MPEG change a grey level or two.
    assert off[shift, number] < 8, f"{item.name} shows none of the pictures"
    return drawn[number], SHIFTS_PX[shift]


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


@pytest.fixture(scope="module")
def drawn(fake):
    card, _, found = fake
    num_classes = len(card.classes) if card.classes else 2
    return [(item, *shown(item, num_classes)) for item in found.items]


def test_an_image_keeps_the_class_it_was_drawn_with(fake, drawn):
    card, _, found = fake
    if card.classes is None:
        assert len({found.classes[item.label] for item, *_ in drawn if item.label is not None}) != 1
        return
    assert [item.label for item, *_ in drawn] == [picture.label for _, picture, _ in drawn]


def test_no_group_holds_two_patients_and_no_patient_has_two_groups(fake, drawn):
    card, _, found = fake
    patients = {(item.group, picture.patient) for item, picture, _ in drawn}
    assert len(patients) == found.num_groups, "a group of two patients"
    own_group_each = card.id in ("gist514-db", "pocus", "brachial-plexus")
    if found.group_kind != "near-duplicate cluster" and not own_group_each:
        assert len({picture.patient for _, picture, _ in drawn}) == found.num_groups, "a parted patient"


def test_a_label_map_lies_where_the_lesion_was_drawn(fake, drawn):
    card, _, _ = fake
    for item, picture, shift in drawn:
        marked: dict[int, np.ndarray] = {}
        for label_map in item.masks:
            labels = label_map.read(SIZE)
            assert len(labels) == NUM_FRAMES or labels.ndim == 2
            frames = list(enumerate(labels)) if labels.ndim == 3 else [(label_map.frame or 0, labels)]
            for frame, one in frames:
                here = (one > 0) & ~lesion_of(picture, shift, item, frame, label_map.meaning.kind)
                assert here.mean() < 0.002, f"{item.name}: {label_map.path.name} marks what is no lesion"
                marked[frame] = marked.get(frame, False) | (one > 0)
        for frame, area in marked.items():
            unmarked = card.id == "busi" and card.class_names[item.label] == "normal"
            unmarked |= item.media != "image" and not label_map.frame and frame in (0, NUM_FRAMES - 1)
            lesion = lesion_of(picture, shift, item, frame, item.masks[0].meaning.kind)
            if unmarked:
                assert not area.any()
            else:
                assert (area & lesion).sum() / (area | lesion).sum() > 0.9, item.name


def lesion_of(picture: Picture, shift: int, item: Item, frame: int, kind: str) -> np.ndarray:
    """Where the lesion was drawn in a frame; frames of a fake clip wander to the right by one pixel each."""
    moved = shift if item.array or item.media == "image" else frame
    lesion = np.roll(picture.lesion, moved, axis=1) > 0
    if kind == "voc":
        down, across = np.nonzero(lesion)
        lesion[down.min() : down.max() + 1, across.min() : across.max() + 1] = True
    return lesion


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
        config=BuildConfig(size_px=32, keep_per_cluster=None, clip_choice="even"),  # fakes look alike
        workers=1,
    )
    corpus = open_corpus(tmp_path / "corpus")
    rows = corpus.manifest.to_pylist()
    assert {row["path"] for row in rows} == {item.name for item in found.items}
    groups = {item.name: f"{card.id}/{item.group}" for item in found.items}
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
