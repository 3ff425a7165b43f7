"""Videos as features in memory: LLP folders, the synthetic set, and batches of both."""

from avvp_pl.data.videos import ParsingSet, VideoSet

__all__ = ["ParsingSet", "VideoSet"]
