"""Finished runs as evidence: tables, figures, an HTML page and a W&B workspace.

:mod:`avvp_pl.runs.reading` reads the run folders, and ``videos`` the test videos with what each run found in them.
``statistics`` computes confidence intervals. ``tables`` are the tables of the paper: ``rows`` are their rows (from
``rows.csv``), ``published`` the printed numbers (from ``published.csv``), and ``formats`` writes the files. ``curves``
are all figures, of which ``epochs``, ``events`` and ``examples`` draw some; ``swept`` are the varied settings
(``swept.csv``), and ``drawings`` is what figures share. ``page`` is the HTML page, and ``browser`` what it shows of
the videos. ``evidence`` puts everything together. ``workspace`` is a W&B workspace and report of ``wandb_panels``.
"""
