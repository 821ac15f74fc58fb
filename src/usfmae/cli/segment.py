"""`usfmae evaluate segment`."""

from collections.abc import Sequence
from typing import Any

import typer

from usfmae.cli.choices import one_of
from usfmae.cli.evaluate import (
    CorpusOption,
    DataOption,
    LikeOption,
    OutOption,
    TaskOption,
    WeightsOption,
    pretraining_pool,
    print_metrics,
)
from usfmae.cli.pairs import existing_folder
from usfmae.cli.pretrain import (
    DEVICES,
    DeviceOption,
    OverwriteOption,
    ResumeOption,
    SetOption,
)


def segment(
    task: TaskOption,
    data: DataOption,
    weights: WeightsOption,
    out: OutOption,
    like: LikeOption = None,
    corpus: CorpusOption = None,
    device: DeviceOption = "auto",
    settings: SetOption = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Train encoder and a decoder to outline structures; Dice, IoU, HD95, COCO mAP of masks and boxes."""
    from usfmae.base.config import with_settings
    from usfmae.base.errors import WeightsError
    from usfmae.evaluate.segment import segment as run
    from usfmae.evaluate.segment_config import SegmentConfig, scratch_segment_config
    from usfmae.evaluate.segment_page import write_segment_page
    from usfmae.evaluate.segment_task import load_segment_task
    from usfmae.evaluate.start import shown_to
    from usfmae.models.shipped import file_named, weights_named

    start, like = weights_named(weights), file_named(like)
    if start == "imagenet":
        raise WeightsError(
            "segment takes ViTs, and no ImageNet weights of one are on this machine",
            hint="give a file (MAE, timm or Hugging Face) with --weights FILE",
        )
    fit, crop = shown_to(start, like=like)
    defaults = scratch_segment_config() if start == "scratch" else SegmentConfig()
    chosen: Sequence[str] = [f"task.fit={fit}", f"task.crop={crop}", *(settings or [])]
    config = with_settings(defaults, chosen)
    loaded = load_segment_task(task, existing_folder(data), config=config.task)
    record: dict[str, Any] = run(
        loaded,
        start,
        out=out,
        config=config,
        device=one_of(DEVICES, device, flag="--device"),
        like=like,
        pretraining_pool=pretraining_pool(start, corpus or []),
        resume=resume,
        overwrite=overwrite,
    )
    if "metrics" not in record:
        typer.echo(f"{out}: another process is still training {', '.join(record['waiting_for'])}")
        return
    page = write_segment_page(out, loaded)
    print_metrics(record)
    typer.echo(f"hd95 is in {record['hd95_unit']}; open {page}")
