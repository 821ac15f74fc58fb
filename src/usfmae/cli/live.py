"""Nearest neighbours while pretraining: where `pretrain` meets `evaluate`."""

from pathlib import Path

from usfmae.base.input_spec import Crop, Fit
from usfmae.evaluate.live_knn import LiveKnn
from usfmae.evaluate.protocol import TaskConfig, load_task


def live_knn(name: str, root: Path, *, seed: int, fit: Fit = "pad", crop: Crop = "none") -> LiveKnn:
    """A live evaluation on the first split of a labelled set; its test images are not looked at.

    Args:
        name: a known dataset, or "folder".
        root: where it lies.
        seed: of the split, where the dataset has no official one.
        fit: how pictures are made square; that of the corpus.
        crop: what of them is shown; that of the corpus.
    """
    return LiveKnn(load_task(name, root, config=TaskConfig(split_seed=seed, fit=fit, crop=crop)))
