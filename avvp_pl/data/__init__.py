"""Videos as features: read from folders in LLP layout or generated, and gathered into batches."""

from avvp_pl.data.videos import ParsingSet, VideoSet

__all__ = ["ParsingSet", "VideoSet"]
