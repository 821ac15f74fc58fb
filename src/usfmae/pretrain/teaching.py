"""The teacher of a run: opened before anything is trained, held by the step and by nothing that is saved."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F  # noqa: N812  (the field's own name)

from usfmae.base.errors import SettingError
from usfmae.base.input_spec import InputSpec, height_width
from usfmae.base.logs import get_logger
from usfmae.engine.devices import to_input
from usfmae.engine.ema import EmaConfig, WeightAverage
from usfmae.engine.parallel import whole
from usfmae.models.checkpoint_weights import run_of
from usfmae.models.encoder import ConvolutionalEncoder, Encoder
from usfmae.models.file_licences import is_imagenet, licence_of_file
from usfmae.models.licences import MAE, Licence
from usfmae.models.published.patched import PatchedEncoder
from usfmae.models.teacher import Targets, TeacherConfig, make_targets, standardised
from usfmae.models.teacher_file import check_map, open_teacher, teacher_file
from usfmae.models.vit import VisionTransformer
from usfmae.pretrain.config import PretrainConfig
from usfmae.pretrain.start import pools_of_run

log = get_logger(__name__)

Teacher = Callable[[UInt8[Tensor, "b h w"]], Targets]
"""Grey bytes of whole views, on the device that trains, to what is to be predicted of them."""

AVERAGE_KEY = "teacher"
"""Name of the student's average in the optimiser's state."""


@dataclass(frozen=True, eq=False)
class FrozenTeacher:
    """Another network, left as it is."""

    encoder: Encoder
    """In evaluation mode, its weights without gradients."""

    input_spec: InputSpec
    """What it wants to see."""

    config: TeacherConfig
    """Which of its features."""

    student: Callable[[tuple[int, int]], tuple[int, int]]
    """The student's patches (down, across) for images of (height, width)."""

    @torch.no_grad()
    def __call__(self, views: UInt8[Tensor, "b h w"]) -> Targets:
        """Its features of whole views, on the student's grid."""
        height, width = int(views.shape[1]), int(views.shape[2])
        grid = self.student((height, width))
        images = to_input(views, self.input_spec, views.device)
        pools = self.config.pooled_weight > 0
        if isinstance(self.encoder, ConvolutionalEncoder):
            places, pooled = self._level(self.encoder, images, pools=pools)
        else:
            images = self._resized(images, grid)
            size = (int(images.shape[2]), int(images.shape[3]))
            at = {"at_px": size} if isinstance(self.encoder, VisionTransformer) else {}
            tokens = self.encoder(images, **at)
            places = tokens[:, 1:].transpose(1, 2).unflatten(2, self.encoder.grid_of(size))
            pooled = tokens[:, 0] if pools else None
        return make_targets(places, pooled, grid=grid)

    def _level(
        self, encoder: ConvolutionalEncoder, images: Tensor, *, pools: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The map of the wanted stride, and the mean of the last one where that is asked for."""
        for stride, level in encoder.levels(images):
            if stride == self.config.stride_px:
                places = level
                if not pools:
                    return places, None
        return places, level.mean(dim=(2, 3))

    def _resized(self, images: Float[Tensor, "b c h w"], grid: tuple[int, int]) -> Float[Tensor, "b c _ _"]:
        """At the one size that the network takes, or where its patches are the student's."""
        if isinstance(self.encoder, PatchedEncoder):
            size = self.input_spec.size_px
        else:
            assert isinstance(self.encoder, VisionTransformer)
            patch_px = self.encoder.config.patch_px
            size = (grid[0] * patch_px, grid[1] * patch_px)
        if tuple(images.shape[2:]) == size:
            return images
        return F.interpolate(images, size=size, mode="bilinear", antialias=True, align_corners=False)


class _TopLayers(nn.Module):
    """The mean of the last layers of a transformer, each standardised."""

    def __init__(self, vit: VisionTransformer, num_layers: int) -> None:
        super().__init__()
        self.vit = vit
        self.num_layers = num_layers

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b tokens d"]:
        size = (int(images.shape[2]), int(images.shape[3]))
        layers = self.vit.layers(images, seen=len(self.vit.blocks), at_px=size)
        return torch.stack([standardised(layer.float()) for layer in layers[-self.num_layers :]]).mean(dim=0)


@dataclass(frozen=True, eq=False)
class SelfTeacher:
    """The moving average of the student's own encoder, on the whole view (Baevski et al. 2022, data2vec).

    Before the first step it is the student itself. Its vector for an image is the mean over all places
    (data2vec 2.0, arXiv 2212.07525, "CLS loss"), since nothing else would tell a class token what to be.
    """

    encoder: VisionTransformer
    """Of the student, in training; under fsdp in pieces."""

    average: WeightAverage
    """Of its weights."""

    input_spec: InputSpec
    """What it wants to see."""

    config: TeacherConfig
    """How many layers, and whether a vector for the image is asked for."""

    _empty: list[_TopLayers] = field(default_factory=list)
    """A network of the student's shape that holds no numbers, so it is not wrapped, hooked or compiled."""

    @torch.no_grad()
    def __call__(self, views: UInt8[Tensor, "b h w"]) -> Targets:
        """The average's features of whole views."""
        if not self._empty:
            with torch.device("meta"):
                vit = VisionTransformer(self.encoder.config)
            self._empty.append(_TopLayers(vit, self.config.layers_averaged).eval())
        weights = {f"vit.{name}": whole(self.average.of(p)) for name, p in self.encoder.named_parameters()}
        images = to_input(views, self.input_spec, views.device)
        tokens = functional_call(self._empty[0], weights, (images,), strict=True)
        grid = self.encoder.grid_of((int(views.shape[1]), int(views.shape[2])))
        places = tokens[:, 1:].transpose(1, 2).unflatten(2, grid)
        pooled = tokens[:, 1:].mean(dim=1) if self.config.pooled_weight else None
        return make_targets(places, pooled, grid=grid)


@dataclass(frozen=True, eq=False)
class Teaching:
    """Everything that a run must know of its teacher."""

    config: PretrainConfig
    """The run's settings, with what was read off the teacher."""

    frozen: FrozenTeacher | None = None
    """A teacher from elsewhere, on the CPU; None for none and for the student's own average."""

    facts: dict[str, Any] | None = None
    """For the run's record: kind, encoder, file, sha256 and licence; None without a teacher."""

    reads: dict[str, Path] = field(default_factory=dict)
    """What is read, by the setting that names it."""

    pools: tuple[dict[str, Any], ...] = ()
    """What a teacher that is an earlier run was trained on, as `start.pools_seen` tells."""

    @property
    def inputs(self) -> dict[str, str]:
        """Hashes, for the record."""
        return {"teacher": self.facts["sha256"]} if self.facts and "sha256" in self.facts else {}

    @property
    def notes(self) -> dict[str, str]:
        """For the weights file, which is all that travels: who taught them, without where that lay."""
        if self.facts is None:
            return {}
        return {"teacher": json.dumps({name: value for name, value in self.facts.items() if name != "file"})}

    def begin(
        self, encoder: Encoder, optimizer: torch.optim.Optimizer, spec: InputSpec
    ) -> tuple[Teacher | None, Sequence[WeightAverage]]:
        """The teacher of a network in training, and the averages that must be moved after each step."""
        teacher = self.config.model.teacher
        if self.frozen is not None:
            self.frozen.encoder.to(next(encoder.parameters()).device)
            return self.frozen, ()
        if teacher.kind != "self":
            return None, ()
        decay = EmaConfig(decay=teacher.decay).per_step(self.config.global_batch)
        assert decay is not None
        assert isinstance(encoder, VisionTransformer), "only masked ViTs have a teacher"
        average = WeightAverage(optimizer, list(encoder.parameters()), decay, AVERAGE_KEY)
        return SelfTeacher(encoder, average, spec, teacher), (average,)


def open_teaching(config: PretrainConfig) -> Teaching:
    """Open the teacher of a run, and ask it once, so that whatever does not fit is known before training.

    Args:
        config: settings of the run.

    Raises:
        WeightsError: its file is missing, damaged or of another network.
        SettingError: its map cannot be laid over the student's patches, it has another width than the
            settings say, or its licence does not allow what `config.demand` names.
    """
    teacher, student = config.model.teacher, config.model.encoder
    if teacher.kind == "none":
        return Teaching(config)
    if teacher.kind == "self":
        facts = {"kind": "self", "layers_averaged": teacher.layers_averaged, "decay": teacher.decay}
        return Teaching(config, facts=facts)
    name, path = teacher_file(teacher)
    licence = licence_of_file(path, name)
    _heed_licence(config, name, licence)
    loaded = open_teacher(teacher, grid=student.grid)
    log.info("teacher: %s: %s", path, loaded.report.summary())
    start_px = config.resolution.start_px
    sizes = {student.image_size_px, height_width(start_px or student.image_px)}
    if isinstance(loaded.encoder, ConvolutionalEncoder):
        for size in sorted(sizes):
            check_map(teacher, loaded.encoder, size, name=name)
    frozen = FrozenTeacher(loaded.encoder, loaded.input_spec, teacher, student.grid_of)
    seen = frozen(torch.zeros(1, *student.image_size_px, dtype=torch.uint8))
    found = {"dim": seen.places.shape[2]}
    found |= {} if seen.pooled is None else {"pooled_dim": seen.pooled.shape[1]}
    for what, width in found.items():
        said = getattr(teacher, what)
        if said not in (None, width):
            raise SettingError(
                f"model.teacher.{what}={said}: {path} gives {width}", hint=f"--set model.teacher.{what}=null"
            )
    facts = {
        "kind": teacher.kind,
        "encoder": name,
        "trained_on": "ImageNet" if licence is MAE or is_imagenet(name, loaded.sha256) else None,
        "file": str(path),
        "sha256": loaded.sha256,
        "licence": None if licence is None else licence.words,
    }
    model = config.model.model_copy(update={"teacher": teacher.model_copy(update=found)})
    reads = {} if teacher.weights is None else {"model.teacher.weights": path}
    return Teaching(
        config.model_copy(update={"model": model}), frozen, facts, reads, tuple(pools_of_run(run_of(path)))
    )


def _heed_licence(config: PretrainConfig, name: str, licence: Licence | None) -> None:
    """Say under which licence the teacher is, and refuse what it does not allow the run to be for."""
    if licence is None:
        if "commercial" in config.demand:
            log.warning("the licence of the teacher's weights is not known here; look whether it allows use")
        return
    if "commercial" in config.demand and not licence.commercial:
        raise SettingError(
            f"the run demands commercial, which the licence of its teacher {name} does not allow "
            f"({licence.words}; {licence.source})",
            hint="choose another model.teacher.kind or model.teacher.encoder",
        )
    log.info("teacher: %s, weights under %s (%s)", name, licence.words, licence.source)
