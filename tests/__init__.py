"""Tests. ``check_shapes`` is the checker of the shapes in signatures while tests run: an int is a float, as everywhere in Python."""

from beartype import BeartypeConf, beartype

check_shapes = beartype(conf=BeartypeConf(is_pep484_tower=True))
