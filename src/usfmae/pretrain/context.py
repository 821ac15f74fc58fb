"""Which other frame of the same clip, or other image of the same patient, accompanies an image."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int

from usfmae.base.errors import CorpusError
from usfmae.base.logs import get_logger
from usfmae.corpus.shards import Corpus

log = get_logger(__name__)
Together = Literal["clip", "patient"]


@dataclass(frozen=True, eq=False)
class Partners:
    """Images that belong together, and the draw of another one for each image of a batch."""

    order: Int[np.ndarray, " n"]
    """All images, clip after clip."""

    place: Int[np.ndarray, " n"]
    """Where in `order` each image stands."""

    start: Int[np.ndarray, " n"]
    """Where in `order` the clip of each image begins."""

    length: Int[np.ndarray, " n"]
    """Images in the clip of each image."""

    def draw(self, indices: Int[np.ndarray, " b"], rng: np.random.Generator) -> Int[np.ndarray, " b"]:
        """Another image of the same clip for each, all equally likely; an image that is alone gets itself."""
        lengths = self.length[indices]
        ahead = 1 + np.floor(rng.random(len(indices)) * (lengths - 1)).astype(np.int64)
        offset = (self.place[indices] - self.start[indices] + ahead) % lengths
        partners: Int[np.ndarray, " b"] = self.order[self.start[indices] + offset]
        return partners


def find_partners(corpus: Corpus, together: Together = "clip") -> Partners:
    """Which images of a pool belong together.

    A group is what the manifest calls one: the patient where known, else the file. It counts beside the file,
    since a file of arrays may hold many patients.

    Args:
        corpus: the pool.
        together: clip, frames of one file and one group; images whose file gave no other, by their group.
            patient, images of one group, whatever their file.
    """
    if together == "patient":
        return group_by(number_by(corpus, "source", "group"))
    by_group, by_file = number_by(corpus, "source", "group"), number_by(corpus, "source", "group", "path")
    alone = np.bincount(by_file)[by_file] == 1
    return group_by(np.where(alone, by_group, by_file + by_group.max(initial=-1) + 1))


def check_partners(corpus: Corpus, together: Together) -> None:
    """Say how many images of a pool have a partner.

    Raises:
        CorpusError: none has.
    """
    num_pairable = int((find_partners(corpus, together).length > 1).sum())
    if not num_pairable:
        raise CorpusError(
            f"{corpus.folder}: none of {len(corpus)} images has another of its {together}, which "
            f"model.agreement.kind={together} is to pair it with",
            hint="build the pool with --set keep_per_cluster=null, which keeps frames that look alike; or "
            "--set model.agreement.kind=image, which needs no partner",
        )
    log.info(
        "%s: %d of %d images have another of their %s; the others are paired with another view of themselves",
        corpus.folder, num_pairable, len(corpus), together,
    )  # fmt: skip


def group_by(members: Int[np.ndarray, " n"]) -> Partners:
    """Partners from the number of the clip that each image is of."""
    order = np.argsort(members, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    _, first, which, counts = np.unique(
        members[order], return_index=True, return_inverse=True, return_counts=True
    )
    return Partners(order, place, first[which][place], counts[which][place])


def one_after_the_other(first: Partners, second: Partners) -> Partners:
    """Partners of the images of two pools, those of the second numbered after those of the first."""
    n = len(first.order)
    shifted = {"order": second.order + n, "place": second.place + n, "start": second.start + n}
    both = {name: np.concatenate([getattr(first, name), part]) for name, part in shifted.items()}
    return Partners(**both, length=np.concatenate([first.length, second.length]))


def number_by(corpus: Corpus, *columns: str) -> Int[np.ndarray, " n"]:
    """A number for each image, equal where all these columns of the manifest are; in order of appearance."""
    names = zip(*(corpus.manifest[column].to_pylist() for column in columns), strict=True)
    numbers: dict[tuple[str, ...], int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)
