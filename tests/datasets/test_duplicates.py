import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usfmae.base.errors import DatasetError
from usfmae.datasets import duplicates
from usfmae.datasets.duplicates import NEAR_DUPLICATE_DISTANCE, file_hashes, near_duplicate_clusters
from usfmae.datasets.fake import fake_dataset

# Few bits, so that wild lists hold close pairs, equal hashes and chains.
HASHES = st.lists(st.integers(0, 2**10 - 1) | st.integers(0, 2**64 - 1), max_size=40)


def clusters_of(hashes: list[int], max_distance: int) -> list[int]:
    return near_duplicate_clusters(np.array(hashes, dtype=np.uint64), max_distance=max_distance).tolist()


def clusters_by_walking(hashes: list[int], max_distance: int) -> list[int]:
    """The same, slowly: walk from each image to all that are close."""
    cluster = [-1] * len(hashes)
    for start in range(len(hashes)):
        if cluster[start] >= 0:
            continue
        cluster[start] = max(cluster) + 1
        waiting = [start]
        while waiting:
            here = waiting.pop()
            for there, other in enumerate(hashes):
                if cluster[there] < 0 and (hashes[here] ^ other).bit_count() <= max_distance:
                    cluster[there] = cluster[start]
                    waiting.append(there)
    return cluster


def test_a_chain_by_hand():
    # 0 - 0b11 - 0b1111 are two bits apart each; 0b1111 << 60 is at least four bits from all.
    assert clusters_of([0, 0b1111, 0b1111 << 60, 0b11], 2) == [0, 0, 1, 0]
    assert clusters_of([0, 0b1111, 0b1111 << 60, 0b11], 1) == [0, 1, 2, 3]
    assert clusters_of([0, 0b1111, 0b1111 << 60, 0b11], 4) == [0, 0, 0, 0]


@given(HASHES, st.integers(0, 12))
@settings(deadline=None)
def test_clusters_equal_those_found_by_walking(hashes, max_distance):
    assert clusters_of(hashes, max_distance) == clusters_by_walking(hashes, max_distance)


@given(HASHES, st.integers(0, 12), st.integers(1, 50))
@settings(deadline=None)
def test_the_size_of_chunks_does_not_matter(hashes, max_distance, pairs_at_once):
    whole = clusters_of(hashes, max_distance)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "PAIRS_AT_ONCE", pairs_at_once)
        assert clusters_of(hashes, max_distance) == whole


@given(HASHES, st.integers(0, 12), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_images_does_not_matter(hashes, max_distance, random):
    order = list(range(len(hashes)))
    random.shuffle(order)
    before = clusters_of(hashes, max_distance)
    after = clusters_of([hashes[index] for index in order], max_distance)
    together = {(before[order[i]], after[i]) for i in range(len(order))}
    assert len(together) == len(set(before)) == len(set(after))


def test_no_image_gives_no_cluster():
    assert clusters_of([], 3) == []


def test_a_distance_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"0\.\.64, not 65"):
        clusters_of([1], 65)


def test_ten_thousand_hashes_take_seconds():
    hashes = np.random.default_rng(0).integers(0, 2**64, 10_000, dtype=np.uint64)
    start = time.perf_counter()
    assert (
        near_duplicate_clusters(hashes, max_distance=6).max() == 9_999
    )  # random hashes are about 32 bits apart
    assert time.perf_counter() - start < 10


def test_brighter_smaller_and_recompressed_copies_are_found(tmp_path):
    fake_dataset("folder", tmp_path / "fake", num_patients=4)
    path = tmp_path / "fake/benign/benign (1).png"
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    height, width = pixels.shape
    copies = {
        "brighter.png": np.clip(pixels * 1.1 + 8, 0, 255).astype(np.uint8),
        "smaller.png": cv2.resize(pixels, (width * 3 // 4, height * 3 // 4), interpolation=cv2.INTER_AREA),
        "recompressed.jpg": pixels,
    }
    for name, copy in copies.items():
        cv2.imwrite(str(tmp_path / name), copy, [cv2.IMWRITE_JPEG_QUALITY, 60])
    others = sorted((tmp_path / "fake").rglob("* (2).png"))
    hashes = file_hashes([path, *(tmp_path / name for name in copies), *others])
    assert near_duplicate_clusters(hashes).tolist() == [0, 0, 0, 0, *range(1, 1 + len(others))]


def test_different_fakes_are_far_apart(tmp_path):
    # Otherwise no test could tell a planted copy from an accident.
    fake_dataset("folder", tmp_path / "fake", num_patients=100)
    hashes = file_hashes(sorted((tmp_path / "fake").rglob("*).png")))
    distances = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
    assert len(hashes) == 150
    assert distances[np.triu_indices(150, 1)].min() > NEAR_DUPLICATE_DISTANCE


def test_unreadable_images_are_counted_and_named(tmp_path):
    fake_dataset("folder", tmp_path / "fake", num_patients=4)
    paths = sorted((tmp_path / "fake").rglob("*).png"))
    paths[1].write_bytes(b"")
    paths[3].write_bytes(b"not an image")
    with pytest.raises(
        DatasetError, match=rf"2 of {len(paths)} labelled images cannot be read \(first: .*\.png"
    ):
        file_hashes(paths)
