"""Shapes and types in signatures are checked while the tests run, so they cannot lie."""

import os
import sys
from importlib.util import cache_from_source, find_spec
from pathlib import Path
from types import ModuleType

os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

from beartype import BeartypeConf, beartype
from jaxtyping import _import_hook, install_import_hook

PACKAGE = Path(find_spec("usfmae").origin).parent
checked_bytecode = _import_hook._optimized_cache_from_source


def bytecode(checker_hash: str, /, path: str, debug_override: bool | None = None) -> str:
    """Where that of checked modules lies apart.

    jaxtyping says so of all that is imported while a module of ours is: torch, scipy, scikit-learn and others
    were compiled anew in each process, for 9 s of the 22 s that all imports took.
    """
    if PACKAGE in Path(path).parents:
        return checked_bytecode(checker_hash, path, debug_override)
    return cache_from_source(path, debug_override)


_import_hook._optimized_cache_from_source = bytecode

checker = ModuleType("usfmae_type_checker")
checker.check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is welcome where a float is
sys.modules[checker.__name__] = checker
install_import_hook("usfmae", "usfmae_type_checker.check")
