"""``python -m avvp_pl.score``: score any system's predictions, given as tables in LLP format."""

from __future__ import annotations

import logging

from omegaconf import DictConfig

from avvp_pl.commands.command import command

log = logging.getLogger(__name__)


def score(cfg: DictConfig) -> None:
    """Score every listed video, one without predictions as empty; print, and write ``cfg.output`` if given."""
    from pathlib import Path

    import torch

    from avvp_pl.data.annotations import Oddities, read_names, read_timelines, stack_timelines
    from avvp_pl.data.llp import vocabulary
    from avvp_pl.metrics import score_timelines
    from avvp_pl.tasks.parsing import print_scores, write_scores

    names = read_names(Path(cfg.videos))
    truth_paths = {"audio": Path(cfg.audio), "visual": Path(cfg.visual)}
    predicted_paths = {"audio": Path(cfg.predicted_audio), "visual": Path(cfg.predicted_visual)}
    events = vocabulary(cfg.classes, Path(cfg.videos), list(truth_paths.values()), list(predicted_paths.values()))
    oddities = Oddities()

    def timelines(paths: dict[str, Path]) -> torch.Tensor:
        tables = {m: read_timelines(p, events, cfg.segments, oddities, cfg.segment_seconds) for m, p in paths.items()}
        for modality, table in tables.items():
            kind = f"{paths[modality].name}: videos that are not listed (ignored)"
            oddities[kind] += len(set(table) - set(names))
        return torch.from_numpy(stack_timelines(names, tables, cfg.segments, len(events)))

    truth, prediction = timelines(truth_paths), timelines(predicted_paths)
    oddities.report(log)
    scores = score_timelines(prediction, truth)
    if cfg.output is not None:
        write_scores(Path(cfg.output), scores, events, "common")
    print_scores(scores, f"{cfg.predicted_audio}, {cfg.predicted_visual}")
    if scores.with_predictions < scores.listed:
        print(f"{scores.listed - scores.with_predictions} listed videos have no predictions; they count as empty")


main = command("score", score)

if __name__ == "__main__":
    main()
