"""The three losses of Eq. (13), one pure function each."""

from avvp_pl.losses.contrastive import contrastive_loss
from avvp_pl.losses.mil import guided_loss, inverse_frequency_weights, mil_loss
from avvp_pl.losses.pseudo_label import pseudo_label_loss

__all__ = ["contrastive_loss", "guided_loss", "inverse_frequency_weights", "mil_loss", "pseudo_label_loss"]
