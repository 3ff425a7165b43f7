"""What becomes of memory that is freed: a training step asks for the same amount again at once."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

# as in malloc.h, and the variables by which users set the same
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")
KEPT, SEPARATE = 256 * 2**20, 32 * 2**20  # bytes; the second is the most that the library comes to by itself, too


def keep_freed_memory() -> None:
    """Let this process keep up to 256 MiB that it has freed, until it ends.

    By itself, GNU's C library returns the memory of a step to the system when the step is over, and in the next step
    the system has to find, zero and map thousands of pages again. Blocks of more than 32 MiB are still returned at
    once. Nothing happens with another C library, or where the user has chosen what is kept.
    """
    if any(name in os.environ for name in VARIABLES):
        return
    with suppress(AttributeError, OSError, TypeError):  # no such library, or one that has no such settings
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_TRIM_THRESHOLD, KEPT)
        mallopt(M_MMAP_THRESHOLD, SEPARATE)
