"""The table of a corpus: one row per stored image, in Parquet."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from usfmae.base.files import write_by

SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("path", pa.string()),
        ("frame", pa.int32()),
        ("num_frames", pa.int32()),
        ("group", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("spacing_down_mm", pa.float64()),
        ("spacing_across_mm", pa.float64()),
        ("top_px", pa.int32()),
        ("left_px", pa.int32()),
        ("view", pa.int32()),
        ("sector", pa.string()),
        ("filled_ratio", pa.float32()),
        ("marks", pa.list_(pa.int32())),
        ("flags", pa.string()),
        ("content_hash", pa.string()),
        ("cluster", pa.int32()),
        ("shard", pa.int32()),
        ("row", pa.int32()),
    ]
)
"""source and path (below the source's root) name the file; frame counts from 0; height and width are those of
what is stored, in pixels of the file, and top and left its place there; view counts the parts of a dual view;
sector is fan, rectangle, whole, or null where nobody looked; filled_ratio is the share of it that was filled,
and marks where: lengths of runs over the stored square, row by row, unfilled and filled in turn; flags are
words with spaces between; content_hash is of the whole picture as the file has it; spacing is null where the
file does not say; cluster is the same for images that
look like the one that stands for them, null in a corpus from before it was kept; shard and row say where the
pixels are."""


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table of `SCHEMA` as Parquet, the same bytes for the same rows.

    Raises:
        FolderError: the disk is full.
    """
    write_by(path, lambda temporary: pq.write_table(table, temporary, compression="zstd"))


def read_table(path: Path) -> pa.Table:
    """Read a manifest, columns as in `SCHEMA`."""
    return pq.read_table(path, schema=SCHEMA)
