"""Opening a .pth file for its tensors without running anything of what else is in it.

Training programs save their own records beside the weights: argparse's settings (MAE), message buffers with
NumPy arrays (mmengine, so UltraSam). PyTorch's safe reader refuses such files whole. Here those records are
replaced by stand-ins that do nothing, by name; what is not known as such a record is refused as before.
"""

import re
from pathlib import Path
from typing import Any

import torch

_RECORDS = re.compile(
    r"(argparse\.Namespace|builtins\.getattr|collections\.defaultdict|pathlib\.\w+"
    r"|(numpy|mmengine|omegaconf|lightning|pytorch_lightning)\..+)$"
)
"""Names that training programs leave in their files; no tensor of a network needs one of them."""


class _Nothing:
    """Takes the place of a record: takes every argument and every state, keeps none."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, _: Any) -> None: ...


def load_tensors(path: Path) -> Any:
    """What a file of `torch.save` holds, with inert stand-ins for the records of training programs.

    Raises:
        pickle.UnpicklingError: it holds other objects, whose opening could run code.
        OSError: it cannot be read; also RuntimeError, EOFError or ValueError where it is damaged.
    """
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except ValueError:  # the format before PyTorch 1.6 cannot be searched
        names = []
    stand_ins: list[Any] = [(_Nothing, name) for name in names if _RECORDS.match(name)]
    with torch.serialization.safe_globals(stand_ins):
        return torch.load(path, map_location="cpu", weights_only=True)
