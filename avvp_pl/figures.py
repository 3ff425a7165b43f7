"""The style of all pictures, their files, and pictures of timelines."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib import style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from avvp_pl.data.annotations import intervals
from avvp_pl.errors import printable

# The colors of Okabe and Ito, which can be told apart with color blindness
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# What tells lines apart on paper without colors
DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (1.2, 1.2)),
    (0, (5, 1.5, 1.2, 1.5)),
    (0, (9, 2)),
    (0, (3, 1, 1, 1, 1, 1)),
)
MARKERS = "osD^vPX"
HATCHES = ("", "//////", "xxxxxx", "\\\\\\\\\\\\", "||||||", "++++++")
INK = "0.15"

COLUMN, PAGE = 3.4, 7.0  # inches: the width of one column of a paper, and of both
STYLE: dict[str, Any] = {
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 4,
    "axes.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.edgecolor": "0.4",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.5,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "lines.markeredgewidth": 0.0,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "hatch.linewidth": 0.5,
    "figure.titlesize": 8.5,
    "figure.constrained_layout.use": True,
    "text.parse_math": False,  # a "$" in a name must not start a formula
    "svg.fonttype": "none",  # text stays text, so that it can be searched
}
TRUTH = "truth"


class Look(NamedTuple):
    """What tells one of several apart, with color and without."""

    color: str
    dashes: Any
    marker: str
    hatch: str


def look(place: int) -> Look:
    """Return the look of the ``place``-th of several; the first six differ in every respect."""
    turn = place + place // len(COLORS)
    return Look(
        COLORS[place % len(COLORS)],
        DASHES[turn % len(DASHES)],
        MARKERS[turn % len(MARKERS)],
        HATCHES[turn % len(HATCHES)],
    )


@contextmanager
def styled(also: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Set the style of everything that is drawn and saved. The user's matplotlibrc is ignored: TeX would run names."""
    with style.context({**STYLE, **(also or {})}, after_reset=True):
        yield


def png(figure: Figure, dpi: int = 200) -> memoryview:
    """Return the picture as a PNG file."""
    return _saved(figure, format="png", dpi=dpi, metadata={"Software": None}).getbuffer()


def pixels(figure: Figure, dpi: int) -> npt.NDArray[np.uint8]:
    """Return the picture itself, [height, width, 3]: that of :func:`png`, drawn once and not encoded."""
    with _drawing():
        figure.set_dpi(dpi)
        canvas: Any = FigureCanvasAgg(figure)  # its methods have no types
        canvas.draw()
        return np.array(canvas.buffer_rgba())[..., :3]


def svg(figure: Figure, salt: str) -> str:
    """Return the picture as an ``<svg>`` element, which is the same every time.

    Text stays text. ``salt`` must be different for every picture of a page: it becomes part of the ids in the element,
    and ids that are not used are removed, so that several pictures can be in one page.
    """
    unsaid = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    file = _saved(figure, {"svg.hashsalt": salt}, format="svg", metadata=unsaid)
    text = file.getvalue().decode("utf-8")
    text = re.sub(r'<g id="[\w.]+"', "<g", text[text.index("<svg") :])
    # a style sheet would apply to the whole page; these two properties are inherited from the element itself
    text = re.sub(r"\s*<defs>\s*<style.*?</style>\s*</defs>", "", text, count=1, flags=re.DOTALL)
    return text.replace("<svg ", '<svg style="stroke-linejoin: round; stroke-linecap: butt" ', 1)


def _saved(figure: Figure, also: Mapping[str, Any] | None = None, **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    with _drawing(also):
        figure.savefig(file, **options)
    return file


@contextmanager
def _drawing(also: Mapping[str, Any] | None = None) -> Iterator[None]:
    with styled(also), warnings.catch_warnings():
        # letters that the font lacks are drawn as boxes, and a name may be so long that the layout has no room
        warnings.filterwarnings("ignore", "Glyph .* missing|constrained_layout not applied", UserWarning)
        yield


def words(text: str, limit: int = 60) -> str:
    r"""Return text for a picture: on one line, without control characters, and shortened in the middle if it is long.

    >>> words("a\tb\x1b"), words("x" * 50 + "yz", limit=11)
    ('a b\\x1b', 'xxxx...xxyz')
    """
    line = printable(" ".join(text.split()))
    head = limit // 2 - 1
    return line if len(line) <= limit else f"{line[:head]}...{line[len(line) - (limit - 3 - head) :]}"


def told_apart(texts: Sequence[str], limit: int = 60) -> list[str]:
    """Return the :func:`words` of each text, which are longer than ``limit`` where different texts would look alike.

    >>> told_apart(["rain on a roof", "a dog in a yard"], 9), told_apart(["a dog in a yard", "a duck in a yard"], 9)
    (['rai...oof', 'a d...ard'], ['a dog in a yard', 'a duck in a yard'])
    """
    while True:
        lines = [words(text, limit) for text in texts]
        if len(set(lines)) == len(set(texts)) or limit > max(map(len, texts)):
            return lines
        limit *= 2


def legend_below(figure: Figure, handles: Sequence[Artist], labels: Sequence[str]) -> None:
    """Add a legend below all panels, with as many columns as fit; the figure grows by the height of further rows."""
    width = max(len(label) for label in labels) * 0.058 + 0.45  # inches, of the widest entry
    rows = math.ceil(len(labels) / max(1, int(figure.get_figwidth() / width)))
    figure.set_figheight(figure.get_figheight() + 0.15 * (rows - 1))
    named = [
        f" {label}" if label.startswith("_") else label for label in labels
    ]  # matplotlib 3.9 leaves such labels out
    columns = math.ceil(len(labels) / rows)
    figure.legend(handles, named, loc="outside lower center", ncols=columns, columnspacing=1.4)


def draw_timelines(
    title: str,
    sources: Mapping[str, npt.NDArray[np.bool_ | np.floating]],
    modalities: Sequence[str],
    events: Sequence[str],
    segment_seconds: float = 1.0,
) -> Figure:
    """Draw one video: a panel for each modality, in it a row for each event, and in that a lane for each source.

    ``sources`` maps names (truth, pseudo labels, ...) to [T, M, C]: booleans are drawn as bars, and numbers in [0, 1]
    as bars of that opacity. The source called ``truth`` is black, and its shade extends through the lanes of the
    others: a bar without shade is false, and shade without a bar is missed. Events that no source has are not drawn.
    """
    shown = [c for c in range(len(events)) if any((source[..., c] >= 0.5).any() for source in sources.values())]
    lane = 0.15 if len(sources) < 4 else 0.1  # inches
    height = max(1, len(shown)) * (len(sources) + 0.6) * lane
    with styled():
        figure = Figure(figsize=(PAGE, 0.75 + len(modalities) * (0.25 + height)))
        figure.suptitle(words(title, 100), x=0.01, ha="left")
        panels = np.atleast_1d(figure.subplots(len(modalities), 1, sharex=True))
        for m, (modality, panel) in enumerate(zip(modalities, panels, strict=True)):
            own = {name: source[:, m] for name, source in sources.items()}
            _draw_panel(panel, own, shown, events, segment_seconds)
            panel.set_title(words(modality))
        panels[-1].set_xlabel("time (s)")
        panels[-1].xaxis.set_major_locator(MaxNLocator(10, steps=[1, 2, 5, 10]))
        paints = _paints(list(sources))
        handles = [Rectangle((0, 0), 1, 1, **paints[name]) for name in sources]
        legend_below(figure, handles, told_apart(list(sources)))
    return figure


def _draw_panel(
    panel: Axes,
    sources: Mapping[str, npt.NDArray[np.bool_ | np.floating]],
    shown: Sequence[int],
    events: Sequence[str],
    segment_seconds: float,
) -> None:
    group = len(sources) + 0.6
    segments = next(iter(sources.values())).shape[0]
    paints = _paints(list(sources))
    for row, event in enumerate(shown):
        top = row * group
        if TRUTH in sources and len(sources) > 1:
            for onset, offset, opacity in _bars(sources[TRUTH][:, event]):
                shade = {"facecolor": INK, "alpha": 0.13 * opacity, "lw": 0, "zorder": 0.5}
                panel.add_patch(_bar(onset, offset, top - 0.1, len(sources) + 0.2, segment_seconds, shade))
        for place, (name, timeline) in enumerate(sources.items()):
            for onset, offset, opacity in _bars(timeline[:, event]):
                paint = {**paints[name], "alpha": opacity}
                panel.add_patch(_bar(onset, offset, top + place + 0.08, 0.84, segment_seconds, paint))
        if row:
            panel.axhline(top - 0.3, color="0.8", lw=0.5)
    panel.set_xlim(0, segments * segment_seconds)
    panel.set_ylim(max(1, len(shown)) * group - 0.3, -0.3)  # the first event on top
    middles = [row * group + len(sources) / 2 for row in range(len(shown))]
    panel.set_yticks(middles, told_apart([events[event].replace("_", " ") for event in shown], 40))
    panel.tick_params(axis="y", length=0)
    panel.grid(visible=False, axis="y")
    panel.spines["left"].set_visible(False)


def _paints(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the paint of each source: black for the truth, and the looks of the others in their order."""
    looks = {name: look(place) for place, name in enumerate(name for name in names if name != TRUTH)}
    paints = {
        name: {"facecolor": own.color, "hatch": own.hatch, "edgecolor": "white", "lw": 0} for name, own in looks.items()
    }
    return {**paints, TRUTH: {"facecolor": INK, "lw": 0}}


def _bar(
    onset: int, offset: int, top: float, height: float, segment_seconds: float, paint: Mapping[str, Any]
) -> Rectangle:
    return Rectangle((onset * segment_seconds, top), (offset - onset) * segment_seconds, height, **paint)


def _bars(track: npt.NDArray[np.bool_ | np.floating]) -> list[tuple[int, int, float]]:
    """Return (onset, offset, opacity) for the intervals of a boolean track [T], or every segment of a numeric one."""
    if track.dtype == bool:
        return [(onset, offset, 1.0) for _, onset, offset in intervals(track[:, None].astype(bool))]
    return [(t, t + 1, float(np.clip(value, 0, 1))) for t, value in enumerate(track) if value > 0.02]
