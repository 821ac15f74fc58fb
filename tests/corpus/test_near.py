"""Near-duplicates of a pool: the largest stays, so many stay, and frames of a clip are no exception."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from usfmae.corpus.build import build_corpus
from usfmae.corpus.sources import Source


def disguised(scans: Path, name: str, pixels: np.ndarray) -> None:
    """Half the size, darker, mirrored: a near-duplicate."""
    pixels = pixels[::2, ::-2] * 0.8
    Image.fromarray(pixels.astype(np.uint8)).save(scans / name)


def test_the_largest_of_pictures_that_look_alike_stays(scans, config, drawn, tmp_path):
    disguised(scans, "a/00-smaller.png", drawn(0))  # before 03.png in the order of files
    disguised(scans, "a/0-first.png", drawn(3))
    disguised(scans, "b/last.png", drawn(3))
    corpus = build_corpus([Source("scans", scans)], out=tmp_path / "c", config=config)
    paths = corpus.manifest["path"].to_pylist()
    assert paths == [f"a/{k:02d}.png" for k in range(7)] + [f"b/{k:02d}.png" for k in range(7, 12)]
    near = corpus.record["left_out"]["near_duplicate"]
    assert near["count"] == 2
    assert [entry["path"] for entry in near["named"]] == ["a/0-first.png", "a/00-smaller.png"]
    assert near["named"][0]["why"].startswith("looks like scans/a/03.png (")
    assert corpus.record["left_out"]["repeat"]["named"][0]["path"] == "b/last.png"  # equal to a/0-first.png
    assert corpus.manifest["cluster"].to_pylist() == list(range(12))


@pytest.mark.parametrize(("keep", "num_images"), [(1, 12), (2, 13), (None, 14)])
def test_so_many_of_a_cluster_stay_and_share_its_number(scans, config, drawn, tmp_path, keep, num_images):
    disguised(scans, "a/x.png", drawn(3))
    disguised(scans, "b/y.png", drawn(3))
    config = config.model_copy(update={"keep_per_cluster": keep, "drop_repeats": False})
    corpus = build_corpus([Source("scans", scans)], out=tmp_path / "c", config=config, workers=2)
    assert len(corpus) == num_images
    cluster = dict(
        zip(corpus.manifest["path"].to_pylist(), corpus.manifest["cluster"].to_pylist(), strict=True)
    )
    assert [cluster[path] for path in ("a/x.png", "b/y.png") if path in cluster] == [3] * (num_images - 12)
    assert len(set(cluster.values())) == 12


def test_near_identical_frames_of_a_clip_are_near_duplicates(scans, config, drawn, tmp_path):
    noise = np.random.default_rng(0)
    frames = [
        Image.fromarray(np.clip(drawn(50) + noise.normal(0, 3, (40, 48)), 0, 255).astype(np.uint8))
        for _ in range(4)
    ]
    frames.append(Image.fromarray(drawn(51)))
    frames[0].save(scans / "clip.tif", save_all=True, append_images=frames[1:])
    corpus = build_corpus([Source("scans", scans)], out=tmp_path / "c", config=config)
    clip = [row["frame"] for row in corpus.manifest.to_pylist() if row["path"] == "clip.tif"]
    assert clip == [0, 4]
    named = corpus.record["left_out"]["near_duplicate"]["named"]
    assert [entry["path"] for entry in named] == ["clip.tif#1", "clip.tif#2", "clip.tif#3"]
