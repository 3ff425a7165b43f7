"""``python -m avvp_pl.predict``: parse videos with a checkpoint and write the timelines."""

from __future__ import annotations

from omegaconf import DictConfig

from avvp_pl.commands.command import command


def predict(cfg: DictConfig) -> None:
    """Write a table in LLP format for each modality, ``timelines.json`` and some pictures into ``cfg.output``.

    A checkpoint of localization also writes ``detections.json``, and ``cfg.formats`` are other files of timelines.
    """
    from avvp_pl.commands.build import build_data, build_trainer, prepare_process
    from avvp_pl.commands.restore import restore
    from avvp_pl.errors import InputError
    from avvp_pl.library.results import Parsing
    from avvp_pl.tasks.parsed import join
    from avvp_pl.training.callbacks.needed import check_prediction

    if len(cfg.inference or ()) > 1:
        raise InputError("predict writes the timelines of one inference; give one, such as inference=classifier")
    prepare_process(cfg)
    config, videos, model = restore(cfg, splits=(cfg.split,), truth_required=False)
    trainer, data = build_trainer(cfg), build_data(config, videos, predicted=cfg.split)
    check_prediction(trainer, model)
    parsed = join(list(trainer.predict(model, data) or []))  # type: ignore[arg-type]
    parsing = Parsing(videos.splits[cfg.split], parsed, videos, model.protocol, model.task)
    parsing.write(cfg.output, cfg.pictures, cfg.formats, embed_media=cfg.embed_media)
    if parsed.detections is None:
        found, what = sum(bool(timeline.any()) for timeline in parsing.timelines), "events"
    else:
        found, what = len(set(parsed.detections.videos.tolist())), "intervals"
    print(f"{len(parsing)} videos parsed, {what} found in {found} of them: {cfg.output}")


main = command("predict", predict)

if __name__ == "__main__":
    main()
