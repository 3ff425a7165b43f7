"""Which settings of ``score`` belong to which task."""

from __future__ import annotations

from collections.abc import Iterable

from avvp_pl.errors import InputError

OF_TASK = {
    "parsing": (
        "videos", "predicted", "audio", "visual", "predicted_audio", "predicted_visual", "classes", "segments",
        "segment_seconds",
    ),
    "localization": ("detections", "ambiguous", "subset", "scoring"),
}  # fmt: skip


def check_task(task: str, given: Iterable[str]) -> None:
    """Raise :class:`InputError` for a given setting that would have no effect, because another task reads it.

    Raise it as well for a setting that changes a protocol and leaves the protocol its name.
    """
    keys = [key.lstrip("+~") for key in given]
    for key in keys:
        name = key.partition(".")[0]
        for other, names in OF_TASK.items():
            if other != task and name in names:
                raise InputError(f"{key} has no effect with task={task}; it is a setting of task={other}")
    changed = [key for key in keys if key.startswith("scoring.")]
    if changed and "scoring.name" not in changed:
        raise InputError(f"{changed[0]} makes another protocol; give it a name, too: scoring.name=NAME")
