"""An archive that was cut into several files: which ones they are, and how to read them as one."""

import io
import re
from collections.abc import Sequence
from pathlib import Path

from usfmae.base.errors import ArchiveError


def parts_of(archive: Path) -> list[Path]:
    """All parts of a split archive in order; the file alone where it is not split.

    `set.zip` with `set.z01`, `set.z02` beside it (the last part may have any suffix), and `set.zip.001`,
    `set.zip.002`.

    Raises:
        ArchiveError: a part in the middle is missing.
    """
    numbered = re.fullmatch(r"(.+)\.(\d{3})", archive.name)
    if numbered:
        siblings = sorted(archive.parent.glob(f"{_literal(numbered[1])}.[0-9][0-9][0-9]"))
        numbers = [int(path.suffix[1:]) for path in siblings]
        wanted, last = list(range(1, max(numbers) + 1)), []
        pattern = f"{numbered[1]}.{{:03d}}"
    else:
        siblings = sorted(archive.parent.glob(f"{_literal(archive.stem)}.[zZ][0-9][0-9]"))
        if not siblings:
            return [archive]
        numbers = [int(path.suffix[2:]) for path in siblings]
        wanted, last = list(range(1, max(numbers) + 1)), [archive]
        pattern = f"{archive.stem}.z{{:02d}}"
    missing = [pattern.format(number) for number in wanted if number not in numbers]
    if missing:
        raise ArchiveError(
            f"{archive}: {len(missing)} of {len(wanted) + len(last)} parts are not beside it "
            f"(first: {missing[0]})",
            hint="put all parts into one folder",
        )
    return [*siblings, *last]


def _literal(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)


class Joined(io.RawIOBase):
    """Several files read as one."""

    def __init__(self, parts: Sequence[Path]) -> None:
        self._files = [part.open("rb") for part in parts]
        sizes = [part.stat().st_size for part in parts]
        self.starts = [sum(sizes[:number]) for number in range(len(sizes))]
        self._size = sum(sizes)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("a place before the start")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        if self._at >= self._size:
            return 0
        number = max(k for k, start in enumerate(self.starts) if start <= self._at)
        file = self._files[number]
        file.seek(self._at - self.starts[number])
        content = file.read(len(buffer))
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)

    def close(self) -> None:
        for file in self._files:
            file.close()
        super().close()
