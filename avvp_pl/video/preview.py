"""A small copy of a video that every browser plays, for the files that some browsers do not."""

from __future__ import annotations
