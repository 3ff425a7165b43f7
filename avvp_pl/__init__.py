"""Weakly-supervised audio-visual video parsing: which events occur in each second of a video, heard, seen, or both.

The rooms of the package, in the order in which data flows through them:

``types``          the vocabulary: the symbols of the papers and their names here, Batch, ParsingOutput, ParsingNetwork
``data``           data sets (``llp``, ``synthetic``) -> ``videos``: VideoSet, and batches of videos of any length
``models``         networks: HAN (Eqs. 1-2), AVE, AVSDN; attentive pooling (Eq. 3), the momentum network
``losses``         L_MIL (Eq. 4), L_PL (Eq. 11), L_CL (Eq. 12)
``pseudo_labels``  key segments (Eqs. 5-7), prototypes (Eq. 8), labels (Eqs. 9-10), why it is EM (Eqs. 14-18)
``metrics``        F1 of segments and events, exactly as the field computes it
``parts``          the contract of the parts that a run is composed of, and the sum of their losses (Eq. 13)
``methods``        parts: what weak labels teach
``labeling``       parts: where pseudo labels come from, and what they teach
``inference``      parts: which probabilities are tested, and the gates that make timelines of them
``training``       the one LightningModule, the optimizer and its schedules, the callbacks that say when things happen
``tasks``          how a result is scored, written and printed
``timelines``      what was found in one video, as a table and as files of every format
``pages``          HTML pages that are opened from the disk: what all of them have in common
``runs``           run folders and checkpoints: who writes them, and who reads them
``reporting``      finished runs as tables, figures and a page
``settings``       which settings exist, their limits, and which of them tell two runs apart
``commands``       from a command line to objects, and the messages and exit codes of all commands
``processes``      the processes of a run: signals, random numbers, communication
``video``          video files: decoding, and extractors, which turn sound and pictures into streams of features
``library``        what ``import avvp_pl`` offers: a checkpoint that parses videos, scores as tables, a training
``serving``        the page on which videos are dropped: uploads, the process that parses them, the server
``testing``        tests for a method of your own
``train`` ...      the commands: train, recipe, refine, evaluate, predict, score, prepare, clips, extract, app, report

All of them may use ``errors`` (messages for the user), ``files`` (whole or not there) and ``figures``. Each equation is
one function of tensors, and ``models``, ``losses``, ``pseudo_labels``, ``metrics`` and the parts know nothing of
Lightning, Hydra or W&B. Settings, with their defaults and what they mean, are in ``conf/``, a folder for each group.

===============================================  =======================================================================
Where is ...                                     look at
===============================================  =======================================================================
an equation of the paper, such as Eq. (10)?      ``grep -rn "Eq. (10)" avvp_pl``; ``docs/method.md`` has a table of all
a symbol of the paper, such as w-hat?            ``types``
the loss of a run?                               training_step in ``training.module``
the gate, and its threshold?                     ``inference.gates``; ``conf/protocol/common.yaml``
the learning rate?                               ``conf/optimizer/adam.yaml``; ``training.optimization``
the schedule of the learning rate?               ``conf/optimizer/schedule/``; ``training.optimization``
when pseudo labels are made?                     ``training.callbacks.refresh_pseudo_labels``
how pseudo labels are made?                      ``labeling``, one source a file
the epoch that is tested?                        selection in ``conf/protocol/common.yaml``
what a run folder holds?                         ``runs.names``
what a checkpoint holds?                         ``training.callbacks.checkpoint_contents``; ``runs.checkpoints``
what a checkpoint may build?                     ``runs.trust``
what makes a resumed run exact?                  ``processes.randomness``; ``docs/reliability.md``
an experiment, a row of a table?                 ``conf/experiment/``; ``reporting.rows``
a message about a setting?                       ``settings.check``, ``settings.names``
the help of a command, and where it comes from?  ``conf/``, its comments; ``commands.help``, ``settings.comments``
what can be imported from ``avvp_pl`` itself?    ``docs/api.md``
when a picture is seen, and a sound heard?       ``video.decode``, ``video.pictures``, ``video.sound``
which extractors made some features?             ``video.manifest``
how to add something of your own?                ``docs/extending.md``
===============================================  =======================================================================

Equation numbers are those of Rachavarapu, Ramakrishnan, Rajagopalan, *Weakly-Supervised Audio-Visual Video Parsing with
Prototype-based Pseudo-Labeling* (PPL), CVPR 2024.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from avvp_pl.commands.build import build_model, build_videos
    from avvp_pl.data.videos import ParsingSet, VideoSet
    from avvp_pl.errors import InputError, TrainingError
    from avvp_pl.library.parser import Parser, load
    from avvp_pl.library.results import Detected, DetectionScores, Parsing, Scores
    from avvp_pl.library.scoring import score
    from avvp_pl.library.training import Trained, compose, fit
    from avvp_pl.metrics import AVVPMetric, ParsingScores, score_timelines, video_f1
    from avvp_pl.models import HAN
    from avvp_pl.pseudo_labels import hard_labels, prototypes_of, select_segments, soft_labels
    from avvp_pl.tasks.parsed import Parsed
    from avvp_pl.tasks.parsing import Found
    from avvp_pl.tasks.schemas import schema
    from avvp_pl.timelines.timeline import Interval, Source, Timeline
    from avvp_pl.types import Batch, Instances, ParsingNetwork, ParsingOutput, Prototypes, Segments

__version__ = "0.1.0"

__all__ = [
    "HAN",
    "AVVPMetric",
    "Batch",
    "Detected",
    "DetectionScores",
    "Found",
    "InputError",
    "Instances",
    "Interval",
    "Parsed",
    "Parser",
    "Parsing",
    "ParsingNetwork",
    "ParsingOutput",
    "ParsingScores",
    "ParsingSet",
    "Prototypes",
    "Scores",
    "Segments",
    "Source",
    "Timeline",
    "Trained",
    "TrainingError",
    "VideoSet",
    "build_model",
    "build_videos",
    "compose",
    "fit",
    "hard_labels",
    "load",
    "prototypes_of",
    "schema",
    "score",
    "score_timelines",
    "select_segments",
    "soft_labels",
    "video_f1",
]

# The modules that define these names. They are imported when a name is first used: torch takes seconds
_HOMES = {
    "avvp_pl.commands.build": ("build_model", "build_videos"),
    "avvp_pl.data.videos": ("ParsingSet", "VideoSet"),
    "avvp_pl.errors": ("InputError", "TrainingError"),
    "avvp_pl.library.parser": ("Parser", "load"),
    "avvp_pl.library.results": ("Detected", "DetectionScores", "Parsing", "Scores"),
    "avvp_pl.library.scoring": ("score",),
    "avvp_pl.library.training": ("Trained", "compose", "fit"),
    "avvp_pl.metrics": ("AVVPMetric", "ParsingScores", "score_timelines", "video_f1"),
    "avvp_pl.models": ("HAN",),
    "avvp_pl.pseudo_labels": ("hard_labels", "prototypes_of", "select_segments", "soft_labels"),
    "avvp_pl.tasks.parsed": ("Parsed",),
    "avvp_pl.tasks.parsing": ("Found",),
    "avvp_pl.tasks.schemas": ("schema",),
    "avvp_pl.timelines.timeline": ("Interval", "Source", "Timeline"),
    "avvp_pl.types": ("Batch", "Instances", "ParsingNetwork", "ParsingOutput", "Prototypes", "Segments"),
}


if not TYPE_CHECKING:  # to a type checker, every name would seem to exist

    def __getattr__(name: str) -> object:
        """Import a public name (PEP 562)."""
        home = next((module for module, names in _HOMES.items() if name in names), None)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """A package whose ``score`` is the function, also once the command of this name, a module, was imported."""

    @property
    def score(self) -> Callable[..., object]:
        """Return the function."""
        return import_module("avvp_pl.library.scoring").score  # type: ignore[no-any-return]

    @score.setter
    def score(self, command: ModuleType) -> None:
        """Ignore what the import of the command sets."""


sys.modules[__name__].__class__ = _Package
