"""The images that shipped weights have learnt from, as hashes that travel with their card.

    NAME.seen.npy   the first 8 bytes of the content hash of every image of every pool, ascending

Whoever has a picture can tell whether it is among them; no picture can be had from them. That is what a
comparison needs where the pool is not at hand: whether a test image, by its pixels, was learnt from. What
only looks like one cannot be told by hashes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import UInt64

from usfmae.base.errors import WeightsError
from usfmae.base.files import file_sha256, write_bytes
from usfmae.base.input_spec import Fit
from usfmae.base.logs import get_logger
from usfmae.models.shipped import WeightsCard

log = get_logger(__name__)

MANIFEST_FILE = "manifest.parquet"
"""In the folder of a corpus, a row per image, `content_hash` among its columns."""

NUM_DIGITS = 16
"""Of the 64 hexadecimal ones of a hash: 8 bytes. Of 100,000 images and 10,000 that are looked for among them,
two are equal by chance once in 2e10 times."""


@dataclass(frozen=True, eq=False)
class SeenImages:
    """Images that weights have learnt from."""

    hashes: UInt64[np.ndarray, " image"]
    """The first 8 bytes of their content hashes, ascending."""

    ways: tuple[tuple[int, Fit], ...]
    """Sides in pixels and fits at which the hashed pixels were prepared."""

    def holds(self, digest: str) -> bool:
        """Whether an image of this content hash (64 hexadecimal digits) is among them."""
        short = np.uint64(_short(digest))
        place = int(np.searchsorted(self.hashes, short))
        return place < len(self.hashes) and bool(self.hashes[place] == short)


def _short(digest: str) -> int:
    return int(digest[:NUM_DIGITS], 16)


def hashes_of(pool: Mapping[str, Any]) -> frozenset[str] | None:
    """The content hashes of a corpus, from the manifest beside its corpus.json.

    Args:
        pool: the content of corpus.json, and `place`, its folder.

    Returns:
        None where the manifest is not there or is of another corpus.
    """
    manifest = Path(pool["place"]) / MANIFEST_FILE
    if not manifest.is_file() or file_sha256(manifest) != pool.get("manifest_sha256"):
        return None
    return frozenset(pq.read_table(manifest, columns=["content_hash"])["content_hash"].to_pylist())


def write_seen(file: Path, pools: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Write the hashes of all images of all pools; equal pools give equal files.

    Args:
        file: the weights, NAME.safetensors; the hashes lie beside it.
        pools: as `hashes_of` takes them, with size_px and fit.

    Returns:
        What the card says of them: name and sha256 of the file, num_images, and ways (side in pixels and fit
        of the hashed pictures). None where a pool lacks its manifest: a part would prove nothing.
    """
    out = file.with_suffix(".seen.npy")
    out.unlink(missing_ok=True)
    found = [hashes_of(pool) for pool in pools]
    missing = [str(pool["folder"]) for pool, part in zip(pools, found, strict=True) if part is None]
    if missing:
        log.warning(
            "%s: without its %s nobody can look for test images by the card; give the folder with --corpus",
            ", ".join(missing), MANIFEST_FILE,
        )  # fmt: skip
        return None
    write_bytes(out, _as_npy(digest for part in found for digest in part or ()))
    ways = dict.fromkeys((pool["size_px"], pool["fit"]) for pool in pools)
    return {
        "name": out.name,
        "sha256": file_sha256(out),
        "num_images": len(np.load(out)),
        "ways": [list(way) for way in ways],
    }


def _as_npy(digests: Iterable[str]) -> bytes:
    written = BytesIO()
    np.save(written, np.unique(np.array([_short(digest) for digest in digests], dtype="<u8")))
    return written.getvalue()


def read_seen(card: WeightsCard) -> SeenImages | None:
    """The hashes that belong to a card; None where it has none.

    Raises:
        WeightsError: the file is missing, damaged or another one.
    """
    said = card.content.get("seen")
    if said is None:
        return None
    file = card.folder / said["name"]
    mend = "install the package again, or make the files anew with `usfmae card`"
    if not file.is_file():
        raise WeightsError(f"{file}: is missing; the card of {card.name} names it", hint=mend)
    found = file_sha256(file)
    if found != said["sha256"]:
        raise WeightsError(
            f"{file}: is damaged or another file than the card of {card.name} names "
            f"(SHA-256 {found[:12]}..., on the card {said['sha256'][:12]}...)",
            hint=mend,
        )
    ways = tuple((int(side), fit) for side, fit in said["ways"])
    return SeenImages(np.load(file, allow_pickle=False).astype(np.uint64), ways)
