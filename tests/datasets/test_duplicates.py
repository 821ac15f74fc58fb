"""Near-duplicates: disguised copies are found, other pictures are not, and order decides nothing."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usfmae.base.errors import DatasetError
from usfmae.datasets.alignment import COARSE, WHOLE, aligned_likeness, mirror_signs, spectra
from usfmae.datasets.candidates import Candidates, Index
from usfmae.datasets.duplicates import (
    NEAR_DUPLICATE_LIKENESS,
    NEARLY,
    _aligned_boxes,
    _crops_around,
    _decided,
    file_fingerprints,
    near_duplicate_clusters,
    near_duplicate_matches,
    near_duplicate_pairs,
    near_duplicate_stars,
)
from usfmae.datasets.fake import fake_dataset
from usfmae.images.fingerprint import fingerprint


def scene(seed: int) -> np.ndarray:
    """A random picture with structure of every size and speckle."""
    rng = np.random.default_rng(seed)
    sizes = [(5, 60.0), (11, 30.0), (23, 15.0)]
    layers = [
        cv2.resize(rng.normal(0, level, (n, n)).astype(np.float32), (240, 200), interpolation=cv2.INTER_CUBIC)
        for n, level in sizes
    ]
    return np.clip(100 + sum(layers) + rng.normal(0, 8, (200, 240)), 0, 255).astype(np.uint8)


def prints(*pictures: np.ndarray) -> np.ndarray:
    return np.array([fingerprint(np.ascontiguousarray(picture)) for picture in pictures])


def framed(picture: np.ndarray, value: int) -> np.ndarray:
    return cv2.copyMakeBorder(picture, 10, 10, 12, 12, cv2.BORDER_CONSTANT, value=value)


def jpeg(picture: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], 0)


DISGUISES = {
    "half": lambda p: cv2.resize(p, (120, 100), interpolation=cv2.INTER_AREA),
    "double": lambda p: cv2.resize(p, (480, 400), interpolation=cv2.INTER_LINEAR),
    "jpeg": jpeg,
    "darker": lambda p: (p * 0.8).astype(np.uint8),
    "brighter": lambda p: np.clip(p * 1.2, 0, 255).astype(np.uint8),
    "black border": lambda p: framed(p, 0),
    "white border": lambda p: framed(p, 255),
    "crop in a corner": lambda p: p[:180, 24:],
    "crop off the grid": lambda p: p[5:185, 6:222],
    "mirrored": lambda p: p[:, ::-1],
    "mirrored crop with border": lambda p: jpeg(framed(p[13:193, 5:221][:, ::-1], 255)),
}


@pytest.mark.parametrize("name", DISGUISES)
def test_a_copy_in_disguise_is_found_and_nothing_else(name):
    pictures = [scene(seed) for seed in range(12)]
    found = near_duplicate_matches(prints(*(DISGUISES[name](p) for p in pictures)), prints(*pictures))
    assert found.left.tolist() == found.right.tolist() == list(range(12))


def test_a_darker_copy_is_as_alike_as_can_be_and_a_negative_is_not():
    picture = np.clip(scene(0), 40, 200)
    pairs = near_duplicate_matches(prints(picture // 2), prints(picture, 255 - picture))
    assert pairs.right.tolist() == [0]
    assert pairs.likeness[0] == pytest.approx(1, abs=1e-3)


def test_mirroring_only_changes_signs():
    thumbs = prints(scene(3))
    boxes = np.array([WHOLE])
    mirrored = spectra(thumbs[:, :, ::-1].copy(), boxes, highest=COARSE)
    assert np.allclose(
        mirrored, spectra(thumbs, boxes, highest=COARSE) * mirror_signs(COARSE), rtol=1e-3, atol=0.05
    )


POOL = prints(
    *(scene(seed) for seed in range(30)),
    *(DISGUISES[name](scene(seed)) for seed, name in enumerate(DISGUISES)),
    *(scene(seed) for seed in range(3)),
)


@given(st.permutations(range(len(POOL))))
@settings(deadline=None, max_examples=10)
def test_the_order_of_images_does_not_change_the_pairs_or_the_clusters(order):
    def named(pairs, names):
        ends = np.sort(np.stack([names[pairs.left], names[pairs.right]], axis=1), axis=1)
        return {(int(a), int(b), float(k)) for (a, b), k in zip(ends, pairs.likeness, strict=True)}

    order = np.array(order)
    here = np.arange(len(POOL))
    assert named(near_duplicate_pairs(POOL[order]), order) == named(near_duplicate_pairs(POOL), here)
    before, after = near_duplicate_clusters(POOL)[order], near_duplicate_clusters(POOL[order])
    assert len(set(zip(before.tolist(), after.tolist(), strict=True))) == len(set(before.tolist()))


def test_clusters_are_the_connected_components_of_the_pairs():
    pairs, clusters = near_duplicate_pairs(POOL), near_duplicate_clusters(POOL)
    assert len(pairs) >= len(DISGUISES) + 3
    assert np.array_equal(clusters[pairs.left], clusters[pairs.right])
    assert len(set(clusters.tolist())) == 30


def test_lists_find_what_comparing_all_with_all_finds():
    rng = np.random.default_rng(0)
    drawn = rng.normal(0, 40, (600, 11, 11)).astype(np.float32)
    thumbs = np.array([np.clip(cv2.resize(d, (22, 22)) + 120, 0, 255) for d in drawn]).astype(np.uint8)
    copies = np.clip(thumbs[:300] + rng.normal(0, 8, (300, 22, 22)), 0, 255).astype(np.uint8)
    every = Index(thumbs).look_up(copies)
    listed = Index(thumbs, exact_images=0, probes=24).look_up(copies)
    wanted = set(zip(every.query.tolist(), every.entry.tolist(), strict=True))
    found = set(zip(listed.query.tolist(), listed.entry.tolist(), strict=True))
    assert {(k, k) for k in range(300)} <= wanted
    assert found <= wanted
    assert len(found) >= 0.99 * len(wanted)


def test_the_first_stands_for_the_others_and_stars_do_not_chain():
    # A sweep: each picture is like the next one, but the ends are not alike.
    one, other = scene(1).astype(np.float32), scene(2).astype(np.float32)
    sweep = prints(*((one * (1 - t) + other * t).astype(np.uint8) for t in np.linspace(0, 1, 12)))
    assert len(set(near_duplicate_clusters(sweep).tolist())) == 1
    stands, likeness = near_duplicate_stars(sweep)
    kept = sorted(set(stands.tolist()))
    assert kept[0] == 0
    assert 1 < len(kept) < 12
    pairs = near_duplicate_pairs(sweep)
    close = set(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True))
    assert all(i == s or (s, i) in close for i, s in enumerate(stands.tolist()))
    assert not [(a, b) for a in kept for b in kept if (a, b) in close]
    assert (likeness[kept] == 1).all()


def test_pictures_that_show_nothing_are_like_no_other():
    flat = prints(*(np.full((50, 50), value, np.uint8) for value in (0, 0, 90, 91)))
    assert len(near_duplicate_pairs(flat)) == 0
    assert near_duplicate_clusters(flat).tolist() == [0, 1, 2, 3]
    assert near_duplicate_stars(flat)[0].tolist() == [0, 1, 2, 3]


def test_equal_fingerprints_are_pairs_each_with_each():
    thumbs = prints(scene(0), scene(1), scene(0), scene(0))
    pairs = near_duplicate_pairs(thumbs)
    assert list(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)) == [(0, 2), (0, 3), (2, 3)]
    assert near_duplicate_clusters(thumbs).tolist() == [0, 1, 0, 0]
    assert near_duplicate_stars(thumbs)[0].tolist() == [0, 1, 0, 0]


def test_no_image_gives_no_cluster():
    nothing = np.zeros((0, 22, 22), np.uint8)
    assert near_duplicate_clusters(nothing).tolist() == []
    assert len(near_duplicate_matches(nothing, prints(scene(0)))) == 0


def test_different_fakes_are_not_alike(tmp_path):
    # Otherwise no test could tell a planted copy from an accident.
    fake_dataset("folder", tmp_path / "fake", num_patients=60)
    thumbs = file_fingerprints(sorted((tmp_path / "fake").rglob("*).png")))
    assert len(near_duplicate_pairs(thumbs)) == 0


def test_unreadable_images_are_counted_and_named(tmp_path):
    fake_dataset("folder", tmp_path / "fake", num_patients=4)
    paths = sorted((tmp_path / "fake").rglob("*).png"))
    paths[1].write_bytes(b"")
    paths[3].write_bytes(b"not an image")
    with pytest.raises(
        DatasetError, match=rf"2 of {len(paths)} labelled images cannot be read \(first: .*\.png"
    ):
        file_fingerprints(paths)


def test_the_crops_around_one_are_its_neighbours_on_the_grid_of_nine():
    around = _crops_around()  # 0 is the whole, 1 to 9 the crops, row by row
    assert np.flatnonzero(around[1]).tolist() == [2, 4, 5]
    assert np.flatnonzero(around[5]).tolist() == [1, 2, 3, 4, 6, 7, 8, 9]
    assert np.flatnonzero(around[0]).tolist() == [5]
    assert not around[:, 0].any()


def test_a_copy_that_is_looked_for_beside_its_place_is_found_from_there():
    """A blurred field, cut to 90 % and framed; steps from crop 7 alone end at a likeness below the limit."""
    rng = np.random.default_rng(0)
    field = cv2.GaussianBlur(rng.standard_normal((220, 200)).astype(np.float32), (0, 0), rng.uniform(3, 9))
    original = (255 * (field - field.min()) / np.ptp(field)).astype(np.uint8)
    rng = np.random.default_rng(0)
    top, left = rng.integers(0, 23), rng.integers(0, 21)
    down, across = 10, 9
    copy = cv2.copyMakeBorder(
        original[top : top + 198, left : left + 180], down, down, across, across, cv2.BORDER_CONSTANT,
        value=int(rng.choice([0, 128, 255])),
    )  # fmt: skip
    prints = [fingerprint(picture)[None] for picture in (copy, original)]
    one = np.zeros(1, np.int64)
    beside = Candidates(query=one, entry=one, region=one + 1, crop=one + 7, mirrored=one > 0)
    regions, crops = _aligned_boxes()
    alone = aligned_likeness(
        prints[0], regions[[1]], prints[1], crops[1, [7]], one > 0, least=NEAR_DUPLICATE_LIKENESS
    )
    assert NEAR_DUPLICATE_LIKENESS - NEARLY <= alone[0] < NEAR_DUPLICATE_LIKENESS
    query, entry, likeness = _decided(*prints, beside, 0, among_themselves=False)
    assert (query.tolist(), entry.tolist()) == ([0], [0])
    assert likeness[0] > NEAR_DUPLICATE_LIKENESS
