"""A model that parses video files, for the page that serves it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands.test_predict_videos import place
from tests.small import checkpoint

__all__ = ["place"]


@pytest.fixture(scope="module")
def model(place: Path) -> Path:
    return checkpoint(place / "run")
