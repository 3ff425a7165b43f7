"""The networks, multiple-instance pooling and the momentum encoder."""

from avvp_pl.models.ave import AVE
from avvp_pl.models.avsdn import AVSDN
from avvp_pl.models.cmpae import CMPAE
from avvp_pl.models.cross_modal import CrossModal
from avvp_pl.models.cvcm import CVCM
from avvp_pl.models.han import HAN
from avvp_pl.models.leap import LEAP
from avvp_pl.models.mil_pooling import PooledProbs, attentive_mil_pooling, max_mil_pooling, top_k_pooling
from avvp_pl.models.mm_pyramid import MMPyramid
from avvp_pl.models.momentum import Teacher, momentum_at, momentum_copy, momentum_update
from avvp_pl.models.temporal_conv import TemporalConv
from avvp_pl.models.uwav import UWAV

__all__ = [
    "AVE",
    "AVSDN",
    "CMPAE",
    "CVCM",
    "HAN",
    "LEAP",
    "UWAV",
    "CrossModal",
    "MMPyramid",
    "PooledProbs",
    "Teacher",
    "TemporalConv",
    "attentive_mil_pooling",
    "max_mil_pooling",
    "momentum_at",
    "momentum_copy",
    "momentum_update",
    "top_k_pooling",
]
