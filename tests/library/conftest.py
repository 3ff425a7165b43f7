"""Trained checkpoints, as for the commands."""

from tests.commands.conftest import han, ppl, trained

__all__ = ["han", "ppl", "trained"]
