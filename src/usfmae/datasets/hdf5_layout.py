"""One HDF5 file with an array of frames, the clip of each, and a table with a row per clip."""

from pathlib import Path
from typing import Literal

import numpy as np

from usfmae.base.errors import DatasetError
from usfmae.datasets.joins import TableJoin
from usfmae.datasets.label_maps import AnyMeaning, LabelMap
from usfmae.datasets.reading import Layout, Reading, find_base, finish, labels_of
from usfmae.datasets.record import Item
from usfmae.datasets.tables import listed


class Hdf5Layout(Layout):
    """Frames stay in their array; an item is one frame of it."""

    kind: Literal["hdf5"]
    file: str
    images: str
    """Array "frame height width"."""
    clip: str
    """Array with the name of each frame's clip; what stands before its first `_` is the patient."""
    meaning: AnyMeaning
    table: TableJoin
    """Its key is made from {clip}."""

    def read(self, root: Path, classes: tuple[str, ...] | None) -> Reading:
        import h5py

        base = find_base(root, self.inside, [self.file, self.table.file])
        path = base / self.file
        try:
            with h5py.File(path) as file:
                absent = [name for name in (self.images, self.clip) if name not in file]
                if absent:
                    raise DatasetError(
                        f"{path}: has no array '{absent[0]}' (its arrays: {', '.join(file) or 'none'})"
                    )
                num_frames = file[self.images].shape[0]
                clips = [_text(value) for value in np.asarray(file[self.clip]).reshape(-1)]
        except OSError as error:
            raise DatasetError(f"{path}: cannot be read as HDF5 ({error})") from error
        if len(clips) != num_frames:
            raise DatasetError(f"{path}: {num_frames:,} images, but {len(clips):,} names of clips")
        table = self.table.read(base)
        unknown = sorted({clip for clip in clips if self.table.name({"clip": clip}) not in table})
        if unknown:
            raise DatasetError(f"{base / self.table.file}: has no row for clips {listed(unknown)}")
        facts = [table[self.table.name({"clip": clip})] for clip in clips]
        names, labels = labels_of([said.get("label", "") for said in facts], classes, place=self.table.file)
        items = [
            Item(
                path=path,
                label=label,
                group=clip.partition("_")[0],
                masks=(LabelMap(path, self.meaning, number),),
                extras={key.removeprefix("extra:"): text for key, text in said.items() if "extra:" in key},
                name=f"{self.file}/{number:06d}",
                frame=number,
                array=self.images,
            )
            for number, (clip, said, label) in enumerate(zip(clips, facts, labels, strict=True))
        ]
        return finish(root, items, names, (), group_kind="patient", wants_masks=True)


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
