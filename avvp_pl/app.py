"""``python -m avvp_pl.app``: a page that parses the videos that are dropped on it."""

from __future__ import annotations

from omegaconf import DictConfig

from avvp_pl.commands.command import command


def app(cfg: DictConfig) -> None:
    """Serve the page until the command is stopped. Everything that was uploaded is deleted then."""
    from importlib.util import find_spec

    from avvp_pl.errors import InputError

    if find_spec("gradio") is None:
        raise InputError('gradio is not installed, which the page needs: pip install -e ".[app]" in the checkout')

    from avvp_pl.serving.server import RESULTS, UPLOADS, address_of, is_local, listening, private_folder, serve
    from avvp_pl.serving.worker import Loading, Worker

    bound = listening(cfg.host, cfg.port)
    with bound, private_folder() as folder:
        from avvp_pl.serving.page import Limits, build_page
        from avvp_pl.serving.results import Results

        arguments = {"inference": cfg.inference, "device": cfg.device, "trust": list(cfg.trust)}
        loading = Loading(cfg.checkpoint, arguments, cfg.threads)
        worker = Worker(loading, seconds=cfg.limits.seconds, longest=60 * cfg.limits.minutes)
        try:
            limits = Limits(**cfg.limits)
            results = Results(folder / RESULTS, folder / UPLOADS, 60 * limits.keep_minutes)
            results.keep_tidy()
            page = build_page(worker, results, limits)
            print(f"the page is at {address_of(bound)} (Ctrl-C ends it)", flush=True)
            if not is_local(cfg.host):
                print("anybody who can reach this machine can use it: there is no password", flush=True)
            serve(page, folder, bound, cfg.host, limits.megabytes, worker.interrupt)
        finally:
            worker.close()


main = command("app", app)

if __name__ == "__main__":
    main()
