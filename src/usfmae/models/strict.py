"""A file's tensors against a network's: every one has its place, or the file is refused by name."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from usfmae.base.errors import WeightsError


def check_tensors(
    path: Path, title: str, wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], *, hint: str
) -> None:
    """Refuse a file in which a tensor is missing, left over or of another shape.

    Counters of batch norm may be missing: old files lack them, and nothing here reads them.

    Args:
        path: the file, for the message.
        title: what the network is called.
        wanted: the network's state dict.
        given: the file's tensors under the network's names, those dropped with a reason left out.
        hint: what files fit.

    Raises:
        WeightsError: says how many are missing and left over and names the first, or names the misshapen.
    """
    missing = [key for key in wanted if key not in given and not key.endswith("num_batches_tracked")]
    extra = [key for key in given if key not in wanted]
    if missing or extra:
        which = f"first missing: {missing[0]}" if missing else f"first left over: {extra[0]}"
        raise WeightsError(
            f"{path}: is no {title}: {len(missing)} of its {len(wanted)} tensors are missing and "
            f"{len(extra)} are left over ({which})",
            hint=hint,
        )
    for key, value in given.items():
        if wanted[key].shape != value.shape:
            raise WeightsError(
                f"{path}: {key} has shape {list(value.shape)}, {title} has {list(wanted[key].shape)}"
            )
