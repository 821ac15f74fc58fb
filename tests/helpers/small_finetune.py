"""A fine-tuning that takes seconds, and what of it must not depend on interruptions."""

from usfmae.base.files import read_json
from usfmae.engine.loop import LoopConfig
from usfmae.engine.metrics_log import read_metrics
from usfmae.engine.views import AugmentConfig
from usfmae.evaluate.finetune import finetune
from usfmae.evaluate.finetune_config import FinetuneConfig
from usfmae.evaluate.statistics import BootstrapConfig
from usfmae.models.vit import ViTConfig

FOLDS = ("fold-2", "fold-3")


def small_settings(task, **changes):
    """Two epochs of five batches on each fold, for fine-tuning and segmentation; other settings by name."""
    return {
        "task": task.config,
        "bootstrap": BootstrapConfig(num_resamples=100),
        "network": ViTConfig(size="ti", image_px=16, patch_px=8),
        "augment": AugmentConfig(scale=(0.8, 1.0)),
        "loop": LoopConfig(checkpoint_steps=2, log_steps=1, precision="fp32"),
        "epochs": 2.0,
        "batch": 8,
        "watch_epochs": 1.0,
        "threads": 1,
        **changes,
    }


def tiny(task, **changes):
    """A fine-tuning with the small settings."""
    return FinetuneConfig(**small_settings(task, **changes))


def tuned(task, weights, out, **changes):
    """The folder of a fine-tuning with the small settings, one epoch."""
    finetune(task, weights, out=out, config=tiny(task, epochs=1.0, **changes))
    return out


def outcome(out):
    """What must not depend on interruptions: weights, predictions, metrics and losses."""
    result = read_json(out / "result.json")
    losses = [line["loss"] for line in read_metrics(out / "metrics.jsonl") if line["kind"] == "train"]
    return (
        [(out / f"folds/{fold}/classifier.safetensors").read_bytes() for fold in FOLDS],
        (out / "predictions.csv").read_bytes(),
        result["metrics"],
        losses,
    )
