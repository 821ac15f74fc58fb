"""Self-supervised ultrasound foundation models: from piles of files to tested answers.

import usfmae

model = usfmae.load("usfmae_s16")
print(model)
vectors = model.embed(["a.png", "b.dcm"])   # float32, one row per picture
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from usfmae.evaluate.embedder import Embedder

__version__ = "0.1.0"
__all__ = ["load"]


def load(name_or_path: str | Path, *, image_px: int | None = None, encoder: str | None = None) -> "Embedder":
    """An encoder ready to use, on the CPU; nothing is downloaded.

    Args:
        name_or_path: a name that ships with the package (`usfmae_s16`), a run folder, a checkpoint in one, or
            a file; "default" for what ships.
        image_px: input side in pixels; None for that of the weights. Positions are resampled.
        encoder: which network a file holds that does not say so itself.

    Returns:
        An `Embedder`: `embed(pictures)` gives one float32 vector each, `encoder` is the network for those who
        go on in PyTorch, `input_spec` says how its input is standardised, and `print` shows what is known.

    Raises:
        WeightsError: no such weights (the nearest name is named), damaged, or not what their card says.
        SettingError: `encoder` is no network, or the patch does not divide `image_px`.
    """
    from usfmae.evaluate.embedder import load as open_embedder  # torch starts only when it is needed

    return open_embedder(name_or_path, image_px=image_px, encoder=encoder)
