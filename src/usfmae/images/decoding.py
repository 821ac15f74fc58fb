"""One guard around other people's decoders: whatever they raise on damaged bytes becomes one ImageError."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from usfmae.base.errors import ImageError


@contextmanager
def decoding(path: Path, what: str) -> Iterator[None]:
    """Run a decoder with its warnings kept quiet.

    Args:
        path: the file, for the message.
        what: the kind of file, as in "a clip".

    Raises:
        ImageError: whatever went wrong inside, in one line; an ImageError passes through unchanged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError(f"{path}: needs more memory than there is") from error
    except Exception as error:  # RuntimeError, OSError, ValueError, KeyError, zlib.error, struct.error, ...
        reason = " ".join(str(error).split())[-MAX_REASON:]  # libraries put the reason last
        raise ImageError(f"{path}: {what} that is damaged or cut short ({reason})") from error


MAX_REASON = 200
"""Characters kept of a library's message; ITK writes half a page."""
