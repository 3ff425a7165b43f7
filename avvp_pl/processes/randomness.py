"""Random numbers that depend only on the seed and on how far a run is, and not on what was drawn before."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import torch


def reseed(*position: int | str) -> None:
    """Seed all global generators (of Python, numpy, and torch on all devices), with another seed for each position.

    If every step begins with this, a run draws the same numbers in it whether it was never interrupted, was resumed
    from a checkpoint, or follows another job in the same process. So no state of a generator has to be saved.
    """
    digest = hashlib.blake2b(repr(position).encode(), digest_size=8).digest()
    seed = int.from_bytes(digest) >> 1
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - libraries may use the global generator
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed)
    elif torch.accelerator.is_available():
        torch.manual_seed(seed)  # every kind of device, in a tenth of a millisecond
    torch.default_generator.manual_seed(seed)
