"""Shapes in signatures are checked while the tests run, so they cannot lie."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

from jaxtyping import install_import_hook

install_import_hook("usfmae", "beartype.beartype")
