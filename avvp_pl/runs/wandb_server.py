"""Whether anything can be sent to Weights & Biases. Nothing slow is imported here."""

from __future__ import annotations

import os
import urllib.error
import urllib.request

from omegaconf import DictConfig

from avvp_pl.errors import InputError, brief

SECONDS = 10.0  # to wait for an answer; the client of W&B alone would try for 90 s
OFFLINE = {"offline", "dryrun", "disabled"}  # values of WANDB_MODE


def check_online(cfg: DictConfig) -> None:
    """Raise :class:`InputError` if a training would send its W&B run, but cannot."""
    node = cfg.logger.get("wandb")
    if node is None or node.get("offline") or os.environ.get("WANDB_MODE") in OFFLINE:
        return
    check_server("logger.wandb.offline=false", "logger.wandb.offline=true, which keeps the run in a folder")


def check_server(asked: str, instead: str) -> None:
    """Raise :class:`InputError` if there is no login to W&B, or its server does not answer.

    ``asked`` is the setting that needs both, and ``instead`` the one that needs neither, with what it does.
    """
    import wandb  # slow to import

    host = wandb.setup().settings.base_url
    try:
        known = wandb.login(verify=False, prompt=False)
    except Exception as error:  # a malformed key
        raise InputError(f"W&B does not accept the key ({brief(error)}); run `wandb login --relogin`") from None
    if not known:
        raise InputError(
            f"{asked}, but there is no login to W&B: run `wandb login` or set WANDB_API_KEY (and do not set "
            f"WANDB_MODE=offline); without an account, use {instead}"
        )
    _ask(host, asked, instead)


def _ask(host: str, asked: str, instead: str) -> None:
    """Raise :class:`InputError` where no server answers at this address; any answer is sufficient."""
    try:
        with urllib.request.urlopen(urllib.request.Request(host, method="HEAD"), timeout=SECONDS):
            pass
    except urllib.error.HTTPError as answer:
        answer.close()
    except (OSError, ValueError) as error:
        raise InputError(
            f"{asked}, but {host} does not answer ({brief(error)}): check the network and WANDB_BASE_URL, or use "
            f"{instead}"
        ) from None
