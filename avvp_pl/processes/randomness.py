"""Random numbers that depend on the seed and on where a run is, and on nothing that came before."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import torch


def reseed(*position: int | str) -> None:
    """Start every global generator anew (Python's, numpy's, torch's on all devices), each position from its own seed.

    A run that starts every step so draws the same numbers in it whether it came there in one go, after another job in
    the same process, or from a checkpoint; so no generator's state has to be saved, of however many processes.
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
