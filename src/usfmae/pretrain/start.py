"""What a run starts from: a weights file, or an earlier run or one of its checkpoints, with the decoder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from usfmae.base.config import Config, make_config
from usfmae.base.errors import SettingError
from usfmae.base.files import file_sha256, read_json
from usfmae.base.logs import get_logger
from usfmae.engine.checkpoint import Checkpoint, find_checkpoints, load_checkpoint
from usfmae.models.checkpoint_weights import checkpoint_named, run_of
from usfmae.models.cnn_weights import STARTED_FROM, CnnFile, imagenet_file, load_cnn_into, read_cnn
from usfmae.models.layouts import MAE_DECODER
from usfmae.models.mae import MaeConfig
from usfmae.models.masked_models import AnyMaskedConfig, MaskedConfig, MaskedNetwork, build_masked
from usfmae.models.shipped import card_of
from usfmae.models.sparse_cnn import SparseAutoencoder
from usfmae.models.weights import WeightsFile, load_into, read_weights
from usfmae.pretrain.config import PretrainConfig

log = get_logger(__name__)
_FIXED = "pos_embed"
"""Sine-cosine positions of the decoder, a function of the grid."""


@dataclass(frozen=True, eq=False)
class Start:
    """Weights before they meet the network of a run."""

    given: Path | Literal["imagenet"]
    """File or folder as it was named."""

    file: WeightsFile | CnnFile
    """The encoder in it, and the decoder where the file has one."""

    decoder: dict[str, Tensor]
    """Tensors of the decoder in the last checkpoint of an earlier run; empty if there is none that fits."""

    decoder_from: dict[str, str]
    """`checkpoint` and `sha256` (of its state.json) of that decoder, or `why` none is taken from one."""

    pools: tuple[dict[str, Any], ...] = ()
    """What the weights were pretrained on, as `pools_seen` or their card tells; of other files unknown."""

    @property
    def inputs(self) -> dict[str, str]:
        """Hashes, for the record."""
        decoder = {"decoder": self.decoder_from["sha256"]} if self.decoder else {}
        return {"weights": self.file.sha256, **decoder}

    @property
    def notes(self) -> dict[str, str]:
        """What files of a run that starts here say of it: the published weights behind a CNN."""
        started = self.file.started_from if isinstance(self.file, CnnFile) else ""
        return {STARTED_FROM: started} if started else {}

    def load_into(self, module: MaskedNetwork, config: PretrainConfig) -> dict[str, Any]:
        """Put the weights into the network of a run; what became of them, for run.json.

        Raises:
            WeightsError: a tensor of the encoder is missing in the file or of another shape.
        """
        file = self.file
        spec = config.input_spec
        if isinstance(module, SparseAutoencoder):
            assert isinstance(file, CnnFile)
            report = load_cnn_into(module.encoder, file, decoder=module.decoder, input_spec=spec)
            channels = file.channels
        else:
            assert isinstance(file, WeightsFile)
            report = load_into(module.encoder, file, decoder=module.decoder, input_spec=spec)
            channels = file.config.channels
        if channels == config.model.encoder.channels and (
            file.input_spec.mean != config.mean or file.input_spec.std != config.std
        ):
            log.warning("%s was trained with another standardisation than this run's", file.path)
        log.info("start: %s", report.summary())
        fresh = list(report.fresh)
        if self.decoder:
            fixed = {name: t for name, t in module.decoder.state_dict().items() if name == _FIXED}
            module.decoder.load_state_dict({**self.decoder, **fixed})
            fresh = []
            log.info("start: decoder of %s", self.decoder_from["checkpoint"])
        elif fresh:
            log.info("start: the decoder begins at random (%s)", self.decoder_from["why"])
        if module.projector is not None:
            fresh += [f"projector.{name}" for name in module.projector.state_dict()]
            log.info("start: the projector begins at random, as none is taken over")
        loaded = {
            "loaded": len(report.loaded),
            "resized": report.resized,
            "dropped": report.dropped,
            "fresh": fresh,
        }
        return {"file": str(self.given), "loaded": loaded, "decoder": self.decoder_from, **self.notes}


def read_start(weights: Path | Literal["imagenet"], config: PretrainConfig) -> Start:
    """Read a weights file; of an earlier run also the decoder, which its weights file does not hold.

    Args:
        weights: a file, the folder of a run, or one of its checkpoints; "imagenet" for the weights of a
            convolutional network that are on this machine.
        config: of the run that starts from it.

    Raises:
        WeightsError: missing, damaged, not weights, or of another network than the run's.
        SettingError: ImageNet weights of a ViT, which are not on this machine.
        TrainingError: the last checkpoint of the run is damaged.
    """
    file = _read(weights, config.model)
    if weights == "imagenet":
        return Start(weights, file, {}, {"why": "ImageNet weights have none"})
    run = run_of(weights)
    checkpoint = checkpoint_named(weights)
    if checkpoint is not None:  # the decoder in it is taken below, if it fits
        tensors = {name: t for name, t in file.tensors.items() if not name.startswith(MAE_DECODER)}
        file = replace(file, tensors=tensors)
    start = partial(Start, weights, file)
    if not (run / "run.json").exists():
        card = card_of(weights)
        seen = () if card is None else card.pools
        return start({}, {"why": "the weights are not the folder of a run"}, seen)
    record = read_json(run / "run.json")
    settings = record.get("made_by", {}).get("settings", {})
    if "model" not in settings:  # of an evaluation
        return start({}, {"why": "the run did not pretrain"})
    start = partial(start, pools=tuple(pools_seen(record)))
    if weights != run and checkpoint is None:  # a file in the folder of a run, perhaps its average
        return start({}, {"why": "the weights are not the folder of a run"})
    model = make_config(_Model, {"model": settings["model"]}).model
    if checkpoint is None:
        done = find_checkpoints(run)
        if not done or done[-1].step != record.get("total_steps"):
            return start({}, {"why": "the run has no checkpoint of its end"})
        checkpoint = done[-1].path
    other = _other_decoder(model, config.model)
    if other:
        return start({}, {"why": f"that of the run has another {other}"})
    source = {"checkpoint": str(checkpoint), "sha256": file_sha256(checkpoint / "state.json")}
    return start(_decoder_in(checkpoint, model), source)


class _Model(Config):
    """Settings of a masked autoencoder of either kind."""

    model: AnyMaskedConfig


def _read(weights: Path | Literal["imagenet"], model: MaskedConfig) -> WeightsFile | CnnFile:
    """The encoder in what `--weights` names, of the kind that is to be trained."""
    if not isinstance(model, MaeConfig):
        name = model.encoder.name
        return read_cnn(imagenet_file(name) if weights == "imagenet" else weights, name)
    if weights == "imagenet":
        raise SettingError(
            "no ImageNet weights of a ViT are on this machine",
            hint="give a file (MAE, timm or Hugging Face) with --weights FILE, or take the recipe "
            "sparse_cnn_cpu, whose network has some",
        )
    return read_weights(weights)


def pools_seen(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every pool that a run and those it started from were trained on or went on from: folder and sha256.

    Args:
        record: the content of run.json.
    """
    kept = record.get("pools_seen") or [record[name] for name in ("corpus", "replay") if record.get(name)]
    return [{name: pool[name] for name in ("folder", "sha256")} for pool in kept]


def pools_of_run(run: Path) -> list[dict[str, Any]]:
    """`pools_seen` of the folder of a pretraining run; none where it is not one."""
    record = read_json(run / "run.json") if (run / "run.json").exists() else {}
    settings = record.get("made_by", {}).get("settings", {})
    return pools_seen(record) if "model" in settings else []


def all_pools(pools: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each pool once, as it came first; pools are equal where their hashes are."""
    known: dict[str, dict[str, Any]] = {}
    for pool in pools:
        known.setdefault(pool["sha256"], pool)
    return list(known.values())


def _decoder_in(checkpoint: Path, model: MaskedConfig) -> dict[str, Tensor]:
    module = build_masked(model)
    load_checkpoint(Checkpoint(checkpoint, step=0), module=module)
    return {name: tensor for name, tensor in module.decoder.state_dict().items() if name != _FIXED}


def _other_decoder(theirs: MaskedConfig, ours: MaskedConfig) -> str:
    """The first thing that keeps a decoder from being taken over; empty if it fits."""
    then, now = _decoder_facts(theirs), _decoder_facts(ours)
    return next((name for name in now if then.get(name) != now[name]), "")


def _decoder_facts(model: MaskedConfig) -> dict[str, Any]:
    """Everything its tensors and their meaning depend on; the share that is predicted is none of it, nor how
    much its parts count."""
    decoder = {f"decoder.{name}": value for name, value in model.decoder.model_dump().items()}
    decoder.pop("decoder.predict_ratio", None)
    teacher: dict[str, Any] = {"teacher.kind": model.teacher.kind}
    if isinstance(model, MaeConfig) and model.teacher.on:
        names = ("encoder", "weights", "stride_px", "dim", "pooled_dim", "pooled_from")
        teacher |= {f"teacher.{name}": getattr(model.teacher, name) for name in names}
        parts = ("weight", "pooled_weight")
        teacher |= {f"teacher.{name}": getattr(model.teacher, name) > 0 for name in parts}
    shape = ("size", "patch_px", "channels") if isinstance(model, MaeConfig) else ("name", "channels")
    encoder = {f"encoder.{name}": getattr(model.encoder, name) for name in shape}
    target = {name: getattr(model, name) for name in ("context", "normalised_pixels")}
    return decoder | encoder | target | teacher
