"""Small text tables that come with datasets: csv files and lists, with messages that name the cell."""

import csv
import difflib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from usfmae.base.config import nearest
from usfmae.base.errors import DatasetError

DELIMITERS = ",;\t"
"""Comma, and what spreadsheets of other countries write instead."""


def read_table(path: Path, *, required: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a csv file, with blanks around names and values removed.

    Comma, semicolon and tab are told apart by the header line; a byte-order mark is ignored.

    Args:
        path: the csv file, in UTF-8.
        required: columns that must be there.

    Returns:
        One dict per row, keyed by column. Cells missing at the end of a row are empty.

    Raises:
        DatasetError: the file is missing, not UTF-8 text, without rows, has a row longer than the header, or
            lacks a column (the nearest one is named).
    """
    text = read_text(path)
    header = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=header.count)
    try:
        lines = list(csv.reader(text.splitlines(), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise DatasetError(
            f"{path}: is no csv table ({error})", hint="export it again as csv with quotes around commas"
        ) from error
    return _rows(path, lines, required=required)


def _rows(path: Path, lines: list[list[str]], *, required: Sequence[str]) -> list[dict[str, str]]:
    columns = [cell.strip() for cell in lines[0]] if lines else []
    missing = [name for name in required if name not in columns]
    if missing:
        named = ", ".join(f"'{name}'" for name in missing)
        raise DatasetError(
            f"{path}: has no column {named} (its columns: {', '.join(columns) or 'none'})",
            hint=nearest_column(missing[0], columns),
        )
    twice = [name for name, times in Counter(columns).items() if times > 1 and name]
    if twice:
        raise DatasetError(f"{path}: has {len(twice)} column(s) twice (first: '{twice[0]}')")
    rows = []
    for number, cells in enumerate(lines[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(columns):
            raise DatasetError(
                f"{path}: line {number} has {len(cells)} cells under {len(columns)} columns",
                hint="put quotes around values that hold the separator",
            )
        padded = [cell.strip() for cell in cells] + [""] * (len(columns) - len(cells))
        rows.append(dict(zip(columns, padded, strict=True)))
    if not rows:
        raise DatasetError(f"{path}: has a header but no row", hint="add one row per image")
    return rows


def read_sheet(path: Path, *, required: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a csv file, or of the first sheet of an xlsx file, as `read_table` gives them.

    Raises:
        DatasetError: as `read_table`; or the file is no spreadsheet.
    """
    if path.suffix.lower() != ".xlsx":
        return read_table(path, required=required)
    if not path.is_file():
        raise DatasetError(f"{path}: no such file", hint=nearest_file(path))
    import openpyxl

    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except Exception as error:  # zip, xml and key errors of many kinds
        raise DatasetError(f"{path}: is no xlsx spreadsheet ({error})") from error
    try:
        lines = [[_cell(cell) for cell in row] for row in book.worksheets[0].iter_rows(values_only=True)]
    finally:
        book.close()
    return _rows(path, lines, required=required)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def read_text(path: Path, *, or_else: str = "utf-8-sig") -> str:
    """A text file in UTF-8, with or without byte-order mark.

    Args:
        path: the file.
        or_else: the encoding of files that are not UTF-8.

    Raises:
        DatasetError: it is missing (a like-named neighbour is offered), empty, or in neither encoding.
    """
    try:
        content = path.read_bytes()
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = content.decode(or_else)
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: no such file", hint=nearest_file(path)) from error
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path}: is not UTF-8 text (byte {error.start})", hint="save it again with the encoding UTF-8"
        ) from error
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not text.strip() or "\0" in text:
        raise DatasetError(
            f"{path}: is empty" if not text.strip() else f"{path}: is not UTF-8 text (holds zero bytes)",
            hint="save it again with the encoding UTF-8",
        )
    return text


def nearest_column(name: str, columns: Sequence[str]) -> str:
    """A hint for a missing column: the one that differs in case or by a slip, or nothing."""
    for column in columns:
        if column.casefold() == name.casefold():
            return f"rename column '{column}' to '{name}'"
    close = difflib.get_close_matches(name, columns, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'? Rename it to '{name}'" if close else f"add a column '{name}'"


def nearest_file(path: Path) -> str:
    """A hint for a missing path: the most similar name in its folder, or the folder that is missing."""
    if not path.parent.is_dir():
        return f"the folder {path.parent} does not exist"
    there = sorted(entry.name for entry in path.parent.iterdir())
    return nearest(path.name, there) if there else f"the folder {path.parent} is empty"


def listed(names: Sequence[str], *, first: int = 1) -> str:
    """How many, and the first ones: `3 (first: a.png)`."""
    return f"{len(names):,} (first: {', '.join(names[:first])})"
