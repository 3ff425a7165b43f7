"""``python -m avvp_pl.predict``: parse videos with a checkpoint and write the timelines."""

from __future__ import annotations

import sys

from omegaconf import DictConfig

from avvp_pl.commands.command import command


def predict(cfg: DictConfig) -> None:
    """Write a table in LLP format for each modality, ``timelines.json`` and some pictures into ``cfg.output``.

    A checkpoint of localization also writes ``detections.json``, and ``cfg.formats`` are other files of timelines.
    Exits with 1 if some of the video files ``cfg.videos`` could not be used.
    """
    from avvp_pl.commands.build import build_data, build_trainer, prepare_process
    from avvp_pl.commands.media import MediaFiles
    from avvp_pl.commands.restore import restore
    from avvp_pl.data.windows import cutting_for
    from avvp_pl.errors import InputError
    from avvp_pl.library.results import Parsing
    from avvp_pl.runs.checkpoints import facts_of
    from avvp_pl.tasks.parsed import join
    from avvp_pl.training.callbacks.needed import check_prediction

    if len(cfg.inference or ()) > 1:
        raise InputError("predict writes the timelines of one inference; give one, such as inference=classifier")
    prepare_process(cfg)
    media = None if cfg.videos is None else MediaFiles(cfg)
    restored = restore(cfg, (cfg.split,), truth_required=False, extracted=None if media is None else media.read)
    config, videos, model, lengths = restored
    split = videos.splits[cfg.split]
    cutting = cutting_for(split, cfg.window, cfg.overlap, lengths, model.network.longest)
    trainer, data = build_trainer(cfg), build_data(config, videos, cfg.split, cutting)
    check_prediction(trainer, model)
    parsed = join([part for found in trainer.predict(model, data) or [] for part in found])
    sources = {} if media is None else media.sources
    made_by = facts_of(cfg.checkpoint, videos.extractors, model.protocol, model.inference)
    parsing = Parsing(split, parsed, videos, model.protocol, model.task, sources, made_by)
    formats = cfg.formats if cfg.formats is not None else [] if media is None else ["html"]
    parsing.write(cfg.output, cfg.pictures, formats, embed_media=cfg.embed_media)
    print(parsing.summary(cfg.output))
    if media is not None:
        media.finish()
        if media.failed:
            print(media.extraction)
            sys.exit(1)


main = command("predict", predict)

if __name__ == "__main__":
    main()
