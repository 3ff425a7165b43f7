"""Finished runs as evidence: tables, figures, an HTML page and a W&B workspace.

:mod:`avvp_pl.runs.reading` reads the run folders, and ``videos`` the test videos with what each run found in them.
``statistics`` computes confidence intervals. ``tables`` are those of the paper, with the experiments of ``rows.csv``
(``rows``) and the printed numbers of ``published.csv`` (``published``); ``formats`` writes them as files. ``curves`` are
all figures, of which ``epochs``, ``events`` and ``examples`` draw some, with what figures share in ``drawings`` and the
varied settings of ``swept.csv`` in ``swept``. ``page`` is the HTML page, and ``browser`` what it shows of the videos.
``evidence`` puts everything together. ``workspace`` is a W&B workspace and report of the panels in ``wandb_panels``.
"""
