"""Which settings tell two runs apart. Three questions are asked of a setting, and each has its own answer.

May a run be resumed with another value? Only the settings in :data:`FREE` may differ: they do not decide what the run
computes, or only for how long it runs. Every other setting must be unchanged, including those that change a result only
in its last bits, because a resumed run computes the same bits as one that was never interrupted.

Are two runs repetitions of one setting? All settings except those in :data:`INCIDENTAL` must agree. Seeds, places, and
how a machine was used do not set runs apart in a report: they may change a result, but are not a reason to compare.

Does a setting belong to the trained model? The groups in :data:`OF_THE_RUN` do not: an evaluation has its own, and
takes the other groups from the configuration of the training. Of its trainer it keeps :data:`OF_TRAINING`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

# A run may be resumed with these changed. `data.source` consists of the other settings of the data
FREE = re.compile(
    r"(resume|debug|tags|name|paths|callbacks|logger)(\..*|$)"
    r"|data\.(root|name|packed|extracted_as|resident|eval_batch_size|max_epochs|proposals|source\..*)"
    r"|trainer\.(max_epochs|default_root_dir|enable_.*|log_every_n_steps|num_sanity_val_steps|_target_)"
)

# Groups that belong to the run that wrote a checkpoint, and not to the model in it
OF_THE_RUN = frozenset({"trainer", "callbacks", "logger", "paths"})
# Settings of the trainer that change what is computed, and so its result
COMPUTED = (
    *("max_epochs", "max_steps", "max_time", "min_epochs", "min_steps"),
    *("accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm", "precision"),
    *("limit_train_batches", "limit_val_batches", "val_check_interval", "check_val_every_n_epoch"),
)
# Settings of the trainer that say what was trained, and not how
OF_TRAINING = (*COMPUTED, "devices", "num_nodes")

# Runs that differ only in these are repetitions of one setting. A report compares `trainer.devices` (as the number of
# processes) and `checkpoint` (best or last) in a form of its own
INCIDENTAL = re.compile(
    r"(labeling\.|trained_labeling\.)?(seed|feature_memory_gb|kmeans)|method\.seed"
    r"|(name|tags|threads|compile|resume|debug|matmul_precision|checkpoint|trust)(\..*)?"
    r"|(paths|logger|callbacks)(\..*)?"
    r"|data\.(root|packed|extracted_as|resident|name|eval_batch_size|max_epochs|proposals|source\..*)"
    r"|protocol\.task\.ambiguous"
    rf"|trainer\.(?!({'|'.join(COMPUTED)})$).*"
)
# Settings that make up the method, in contrast to its data, its network and its hardware
OF_METHOD = re.compile(r"(method|labeling|trained_labeling|inference|optimizer|protocol)\.")
# The part of a key that a label leaves out: gamma=0.5 needs no group
WITHOUT_GROUP = re.compile(r"^(method|labeling|network|optimizer|protocol|trainer)\.(?!_target_)")


def leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value in nested containers, with its full key."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from leaves(inner, f"{key}[{number}]")
    else:
        yield key, value


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any], free: Collection[str] = ()) -> list[str]:
    """Return the changed settings that decide what a run computes, as ``key: old, now new``.

    ``free`` are keys of settings that may change, beside those that always may.
    """
    old, new = (
        {key: value for key, value in leaves(dict(config)) if not FREE.fullmatch(key) and key not in free}
        for config in (before, now)
    )
    return [
        f"{key}: {old.get(key, 'missing')}, now {new.get(key, 'missing')}"
        for key in dict.fromkeys((*old, *new))
        if old.get(key) != new.get(key)
    ]
