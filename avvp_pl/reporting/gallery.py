"""All figures of a report: pure functions from runs to matplotlib figures, each with the numbers that it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jaxtyping import Bool
from torch import Tensor

from avvp_pl.reporting.balance import draw_balance
from avvp_pl.reporting.curves import draw_sweep
from avvp_pl.reporting.drawings import Drawing
from avvp_pl.reporting.epochs import bound, learning, losses, pseudo_label_quality
from avvp_pl.reporting.events import per_event
from avvp_pl.reporting.examples import CHOSEN_BY_DISAGREEMENT, choose_videos, figure3
from avvp_pl.reporting.localized import LocalizedVideos
from avvp_pl.reporting.swept import SWEEPS
from avvp_pl.reporting.thresholds import by_tiou
from avvp_pl.reporting.videos import TestVideos
from avvp_pl.runs.reading import Setting


def draw_all(
    settings: Sequence[Setting],
    baseline: Setting | None,
    shown: Sequence[Setting],
    videos: TestVideos | LocalizedVideos | None,
    found: Mapping[str, Bool[Tensor, "N T M C"]],
    seeds: Mapping[str, int],
    chosen: Sequence[str] | None,
) -> list[Drawing]:
    """Draw every figure that these runs allow.

    Figures of single settings have the settings ``shown``. By the label of the setting, ``found`` has what one run
    found in ``videos``, and ``seeds`` the seed of that run. ``chosen`` are the names of the videos of Figure 3; None:
    they are chosen by :func:`choose_videos`. In localization, ``found`` is empty, and Figure 3 is drawn by
    :func:`~avvp_pl.reporting.detected.draw_examples`. Raises :class:`InputError` where a name is not in the test split.
    """
    drawings = [draw_sweep(sweep, settings, baseline) for sweep in SWEEPS]
    drawings += [
        draw_balance(settings),
        by_tiou(shown),
        per_event(shown, videos),
        pseudo_label_quality(shown),
        bound(shown),
        learning(shown) or losses(shown),
    ]
    kept = [drawing for drawing in drawings if drawing is not None]
    if isinstance(videos, TestVideos) and found:
        reason = CHOSEN_BY_DISAGREEMENT if chosen is None else ""
        names = choose_videos(videos, found, count=4) if chosen is None else chosen
        kept += figure3(videos, found, seeds, names, reason)
    return kept
