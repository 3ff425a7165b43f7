"""Finished runs turned into evidence: tables, figures, a page to look at, a W&B workspace.

``runs`` reads run folders, ``videos`` the test videos and what each run found in them; ``statistics``, ``tables``,
``published`` and ``curves`` (with ``events`` and ``examples``, on ``drawings``) make of them what a paper prints,
``page`` one HTML file, ``workspace`` W&B's panels.
"""
