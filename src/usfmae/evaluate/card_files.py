"""The files that ship: an encoder in half precision, and the card that was made for these bytes."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from usfmae.base.config import Config
from usfmae.base.errors import FolderError, SettingError, WeightsError
from usfmae.base.files import file_sha256, write_json
from usfmae.base.record import made_by
from usfmae.evaluate.card_numbers import card_numbers
from usfmae.evaluate.card_start import RUN_FILE
from usfmae.evaluate.card_text import write_card_texts
from usfmae.evaluate.embedder import PREPARED_PX, load
from usfmae.evaluate.model_card import least_cosine, make_card, read_pools, read_run
from usfmae.evaluate.seen_images import write_seen
from usfmae.models.half_file import write_half
from usfmae.models.weights import AVERAGED_FILE, WEIGHTS_FILE

NAME = r"[a-z][a-z0-9_]*"
NUM_DRAWN = 8
"""Pictures on which half and full precision are compared."""


class CardConfig(Config):
    """What a card was asked for."""

    name: str
    """Of the weights."""

    averaged: bool = False
    """Whether the run's average of its weights was taken."""


def write_card(
    run: Path,
    *,
    name: str,
    out: Path,
    results: Sequence[Path] = (),
    corpora: Sequence[Path] = (),
    encoder: str | None = None,
    averaged: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write NAME.safetensors, .seen.npy, .json, .md and .html; returns the content of the JSON.

    The records are read, and may be refused, before anything is written. A kill between the files leaves a
    file that its card does not describe, which loading refuses; the command again puts that right.

    Args:
        run: the folder of a finished run.
        name: of small letters, digits and underscores.
        out: where to; the package's own weights lie in `src/usfmae/pretrained`.
        results: folders of results and comparisons of these weights.
        corpora: corpora of the run that have moved.
        encoder: the network, where the file of the run does not say so.
        averaged: take the average of the run's weights in place of the weights after its last step.
        overwrite: replace files of this name.

    Raises:
        SettingError: the name cannot be one.
        FolderError: files of this name exist already, or a result is not there.
        WeightsError: the run is not finished or has kept no average, its weights do not fit into half
            precision, or a result was made with other weights.
        CorpusError: a corpus of the run is not there.
    """
    if not re.fullmatch(NAME, name) or name in ("scratch", "imagenet", "default"):
        raise SettingError(
            f"--name {name}: cannot name weights", hint="small letters, digits and _, such as usfmae_s16"
        )
    record = read_run(run)
    pools = read_pools(record, corpora)
    source, file = run / (AVERAGED_FILE if averaged else WEIGHTS_FILE), out / f"{name}.safetensors"
    if averaged and not source.is_file():
        raise WeightsError(
            f"{run}: has kept no average of its weights (no {AVERAGED_FILE})",
            hint="leave out --averaged; a run with --set ema.decay=0.999 keeps one",
        )
    there = [path for end in ("json", "safetensors") if (path := out / f"{name}.{end}").exists()]
    if there and not overwrite:
        raise FolderError(
            f"{there[0]}: exists already", hint="--overwrite replaces it, or choose another --name"
        )
    whole = load(source, encoder=encoder)
    known = {whole.sha256, *({file_sha256(file)} if file.exists() else ())}
    numbers = card_numbers(results, weights=known)
    file.with_suffix(".json").unlink(missing_ok=True)
    write_half(source, file, notes={"name": name, "card": f"{name}.json"})
    half = load(file, encoder=encoder)
    seen = write_seen(file, pools)
    pictures = drawn_pictures()
    content = make_card(
        name=name,
        file=file,
        source=source,
        run=run,
        record=record,
        pools=pools,
        encoder=half.encoder,
        network=half.network,
        input_spec=half.input_spec,
        numbers=numbers,
        seen=seen,
        least_cosine=least_cosine(whole.encode(pictures), half.encode(pictures)),
        made_by=made_by(
            "card",
            settings=CardConfig(name=name, averaged=averaged),
            inputs={"weights": whole.sha256, RUN_FILE: _sha(run)},
        ),
    )
    write_card_texts(content, out)
    write_json(file.with_suffix(".json"), content)
    return content


def drawn_pictures() -> UInt8[np.ndarray, "n side side"]:
    """Pictures of coarse and fine noise, the same every time."""
    drawn = np.random.default_rng(0)
    coarse = drawn.integers(0, 256, (NUM_DRAWN, PREPARED_PX // 16, PREPARED_PX // 16))
    fine = drawn.integers(0, 256, (NUM_DRAWN, PREPARED_PX, PREPARED_PX))
    return ((np.kron(coarse, np.ones((1, 16, 16), dtype=int)) + fine) // 2).astype(np.uint8)


def _sha(run: Path) -> str:
    return file_sha256(run / RUN_FILE)
