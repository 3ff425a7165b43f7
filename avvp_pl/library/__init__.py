"""What ``import avvp_pl`` offers: a checkpoint that parses videos, scores as tables, and trainings from Python."""

import sys

from avvp_pl.errors import NO_WINDOWS

if sys.platform == "win32":
    raise ImportError(NO_WINDOWS)
