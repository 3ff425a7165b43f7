"""Finished runs turned into evidence: tables, figures, a page to look at, a W&B workspace.

``runs`` reads run folders, ``videos`` the test videos and what each run found in them. ``statistics`` says how sure a
difference is; ``tables`` (with ``published``; as files, ``formats``) and ``curves`` (with ``epochs``, ``events`` and
``examples``, on ``drawings``) make what a paper prints; ``page`` (with ``browser``) one HTML file; ``evidence`` puts
all of it together. ``workspace`` is a W&B workspace and report of ``wandb_panels``.
"""
