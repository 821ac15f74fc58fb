"""Whether the pixels of a corpus are those that were stored: each shard is read through once."""

from pathlib import Path
from typing import Any

from usfmae.base.errors import CorpusError, FolderError
from usfmae.base.files import file_sha256, read_json, write_json
from usfmae.base.logs import get_logger, progress_bar
from usfmae.corpus.shards import REBUILD, Corpus

log = get_logger(__name__)
CHECKED_FILE = ".checked.json"
"""In the corpus: checksum, size and time of change of each shard that was found whole."""


def check_shards(corpus: Corpus) -> int:
    """Compare shards with their checksums, but for those that did not change since that was last done.

    What was checked is remembered in the corpus where that may be written to. Bytes that rot on the disk
    without a change of the file's time are found by `verify_corpus`, which remembers nothing.

    Returns:
        How many were read through.

    Raises:
        CorpusError: some differ; the first is named.
    """
    known, now = _known(corpus.folder), {}
    for shard in corpus.record["shards"]:
        about = (corpus.folder / shard["path"]).stat()
        now[shard["path"]] = [shard["sha256"], about.st_size, about.st_mtime_ns]
    todo = [path for path in now if known.get(path) != now[path]]
    if not todo:
        return 0
    wrong = []
    with progress_bar("corpus check", total=len(todo)) as bar:
        for path in todo:
            if file_sha256(corpus.folder / path) != now[path][0]:
                wrong.append(path)
            bar.advance()
    if wrong:
        raise CorpusError(
            f"{corpus.folder}: {len(wrong)} of {len(now)} shards are damaged (checksum; first: {wrong[0]})",
            hint=REBUILD,
        )
    try:
        write_json(corpus.folder / CHECKED_FILE, now)
    except FolderError as error:
        log.info("%s; the next run checks the corpus again", error.message)
    return len(todo)


def _known(folder: Path) -> dict[str, Any]:
    try:
        known = read_json(folder / CHECKED_FILE)
    except FolderError:  # none yet, or cut short: everything is checked
        return {}
    return known if isinstance(known, dict) else {}
