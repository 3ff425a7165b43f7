"""The losses, one pure function each: the three of Eq. (13), and those of other methods."""

from avvp_pl.losses.contrastive import contrastive_loss
from avvp_pl.losses.mil import guided_loss, inverse_frequency_weights, mil_loss
from avvp_pl.losses.poisson_binomial import confident_count, count_distribution, count_loss, log_absent
from avvp_pl.losses.pseudo_label import pseudo_label_loss

__all__ = [
    "confident_count",
    "contrastive_loss",
    "count_distribution",
    "count_loss",
    "guided_loss",
    "inverse_frequency_weights",
    "log_absent",
    "mil_loss",
    "pseudo_label_loss",
]
