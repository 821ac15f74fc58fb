"""Shapes and types in signatures are checked while the tests run, so they cannot lie."""

import os
import sys
from types import ModuleType

os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

checker = ModuleType("usfmae_type_checker")
checker.check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is welcome where a float is
sys.modules[checker.__name__] = checker
install_import_hook("usfmae", "usfmae_type_checker.check")
