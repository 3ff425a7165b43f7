"""Finished runs turned into evidence: tables, figures, a page to look at, a W&B workspace.

``runs`` reads run folders, ``videos`` the test videos and what each run found in them; ``statistics``, ``tables``,
``published`` and ``curves`` make of them what a paper prints, ``page`` one HTML file, ``workspace`` a W&B
workspace and report of ``wandb_panels``.
"""
