"""From segment probabilities to pseudo labels: select, cluster, label (Eqs. 5-10), and why it is EM (14-18)."""

from avvp_pl.pseudo_labels.encoding import EncodedBlock, EncodedVideos, blocks_of
from avvp_pl.pseudo_labels.labels import (
    Lacking,
    hard_labels,
    naive_hard_labels,
    naive_soft_labels,
    prototype_evidence,
    soft_labels,
)
from avvp_pl.pseudo_labels.prototypes import build_prototypes, kmeans_device, prototypes_of
from avvp_pl.pseudo_labels.sampling import KeySegments, KeySegmentSample
from avvp_pl.pseudo_labels.selection import select_segments

__all__ = [
    "EncodedBlock",
    "EncodedVideos",
    "KeySegmentSample",
    "KeySegments",
    "Lacking",
    "blocks_of",
    "build_prototypes",
    "hard_labels",
    "kmeans_device",
    "naive_hard_labels",
    "naive_soft_labels",
    "prototype_evidence",
    "prototypes_of",
    "select_segments",
    "soft_labels",
]
