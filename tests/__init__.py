"""Tests; ``check_shapes`` is what checks the shapes in signatures while they run.

An int is a float there, as everywhere in Python.
"""

from beartype import BeartypeConf, beartype

check_shapes = beartype(conf=BeartypeConf(is_pep484_tower=True))
