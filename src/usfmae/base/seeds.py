"""Stateless randomness: a generator is a function of the seed and of what it is for.

Nothing here keeps state, so a resumed run needs no saved random state: step 700 of seed 0
draws the same crops and hidden patches whoever asks, in whichever process.
"""

import hashlib

import numpy as np


def seed_for(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose, for example `seed_for(0, "hide", step)`.

    Args:
        seed: the run's seed.
        purpose: words and numbers that name what is drawn; order matters.

    Returns:
        An integer in [0, 2**63), equal for equal arguments on every machine.
    """
    words = "\x1f".join(f"{type(word).__name__}:{word}" for word in (seed, *purpose))
    return int.from_bytes(hashlib.blake2b(words.encode(), digest_size=8).digest(), "little") >> 1


def rng_for(seed: int, *purpose: str | int) -> np.random.Generator:
    """A NumPy generator (Philox) for one purpose; see `seed_for`."""
    return np.random.Generator(np.random.Philox(key=seed_for(seed, *purpose)))
