"""Where the configuration is."""

from __future__ import annotations

from pathlib import Path


def config_dir() -> Path:
    """``conf/``: inside the package where it is installed from a wheel, beside it in a checkout."""
    package = Path(__file__).parents[1]
    return package / "conf" if (package / "conf").is_dir() else package.parent / "conf"
