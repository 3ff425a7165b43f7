"""What a run folder holds, by name. No other module of the package writes these names."""

from __future__ import annotations

from pathlib import Path

CONFIG = "config.yaml"  # the resolved settings
LOCK = ".lock"  # held by the run that is in the folder now

# tables with one or more rows for each epoch
METRICS = "metrics.csv"  # identical bytes for the same settings and seed
TIMINGS = "timings.csv"  # durations, which differ between identical runs
PSEUDO_LABELS = "pseudo_labels.csv"  # counts for each event
TABLES = (METRICS, TIMINGS, PSEUDO_LABELS)

CHECKPOINTS = "checkpoints"
BEST = "best.ckpt"  # the epoch that is tested
LAST = "last.ckpt"  # the state from which the run can be resumed

# the test; several inferences may have such files in folders of their own
SCORES = "scores.json"
PREDICTIONS = "predictions"  # a folder with MODALITY.csv for each modality and
PROBABILITIES = "probabilities.npz"  # the probabilities from which they were decided, and in localization
DETECTIONS = "detections.json"  # the intervals that were found

# a job of a sweep that failed, and the folder of the sweep
ERROR = "error.txt"  # the message on one line, and the traceback
SUMMARY = "summary.md"  # the scores of all jobs, and those that failed

# a recipe, whose folder is the run folder of its last stage
STAGES = "stages"  # a folder with the run folders and products of the stages before
DONE = "stages.json"  # the commands of the stages that have ended

# what predict writes beside the predictions
TIMELINES = "timelines.json"
PICTURES = "pictures"
MISSING = "missing.csv"  # modalities that videos do not have; only if there are some


def best_checkpoint(run: Path) -> Path:
    """Return the path of the checkpoint of the epoch that is tested."""
    return run / CHECKPOINTS / BEST


def last_checkpoint(run: Path) -> Path:
    """Return the path of the checkpoint from which a run can be resumed."""
    return run / CHECKPOINTS / LAST


def predictions_of(folder: Path, modality: str) -> Path:
    """Return the path of the table of what was found in a modality, in a folder of predictions."""
    return folder / f"{modality}.csv"
