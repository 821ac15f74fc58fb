"""Everything a user can put right, as one tree.

    UsfmaeError
    |-- SettingError        a setting, recipe or dataset name that does not exist or makes no sense
    |-- FolderError         an output folder that exists, an input folder that does not, a full disk
    |-- MissingExtraError   an optional library is not installed
    |-- ImageError          a file that gives no pixels
    |-- DatasetError        a labelled set whose files, labels or splits are not what they should be
    |   |-- ArchiveError    an archive that is damaged, hostile or none
    |   |-- FetchError      a download that cannot be had, or is not what was promised
    |   `-- LeakError       one patient (or near-duplicate group) on two sides of a split
    |-- CorpusError         a pool that is missing, damaged or empty
    |-- WeightsError        a weights file that is missing, damaged or does not fit
    `-- TrainingError       a run that cannot go on (loss is not a number, checkpoint damaged)

`ValueError` is for a programmer's bad argument, `assert` for what cannot happen.
"""


class UsfmaeError(Exception):
    """A problem the user can fix: what, where, how many; `hint` says what to do next.

    Args:
        message: what is wrong, with the place and the count.
        hint: the next thing to try; empty when there is none.
    """

    exit_status = 2

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.hint)  # crosses process pools with its hint


def _rebuild(kind: type[UsfmaeError], message: str, hint: str) -> UsfmaeError:
    return kind(message, hint=hint)


class SettingError(UsfmaeError):
    """A name or value among the settings is wrong."""


class FolderError(UsfmaeError):
    """A folder exists that must not, or is missing, or cannot be written."""


class MissingExtraError(UsfmaeError):
    """A feature needs an optional library that is not installed."""


class ImageError(UsfmaeError):
    """A file cannot be turned into frames."""


class DatasetError(UsfmaeError):
    """A labelled dataset is not laid out as its card says."""


class LeakError(DatasetError):
    """A patient or near-duplicate group sits on two sides of a split."""


class ArchiveError(DatasetError):
    """An archive is damaged, hostile or none at all."""


class FetchError(DatasetError):
    """A download cannot be had, or is not what was promised."""


class CorpusError(UsfmaeError):
    """A corpus is missing, damaged or empty."""


class WeightsError(UsfmaeError):
    """A weights file is missing, damaged or does not fit the network."""


class TrainingError(UsfmaeError):
    """A run cannot go on."""
