"""When things happen: each callback says when, the parts and functions it calls say what and how.

Lightning calls callbacks in their order. Ours say where they stand by a class attribute ``place``: FIRST before, and
LAST after, those of the user (:func:`in_order`); callbacks that save checkpoints always come after all others.
"""

from __future__ import annotations

from collections.abc import Iterable

import lightning.pytorch as pl

FIRST, MIDDLE, LAST = -1, 0, 1


def in_order(callbacks: Iterable[pl.Callback]) -> list[pl.Callback]:
    """Sort callbacks by their ``place``; within a place, and for callbacks without one, the order is unchanged."""
    return sorted(callbacks, key=lambda callback: getattr(callback, "place", MIDDLE))
