"""Labelled sets scored while pretraining: where `pretrain` meets `evaluate`."""

from pathlib import Path

from usfmae.base.input_spec import Crop, Fit
from usfmae.evaluate.live_probe import LiveProbe
from usfmae.evaluate.protocol import TaskConfig, load_task


def live_scores(name: str, root: Path, *, seed: int, fit: Fit = "pad", crop: Crop = "none") -> LiveProbe:
    """A live evaluation (nearest neighbours, linear probe, feature rank) on the first split of a labelled
    set; its test images are not looked at.

    Args:
        name: a known dataset, or "folder".
        root: where it lies.
        seed: of the split, where the dataset has no official one.
        fit: how pictures are made square; that of the corpus.
        crop: what of them is shown; that of the corpus.
    """
    return LiveProbe(load_task(name, root, config=TaskConfig(split_seed=seed, fit=fit, crop=crop)))
