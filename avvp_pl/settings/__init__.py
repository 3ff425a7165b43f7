"""What may be set: the limits of every setting, where ``conf/`` is, and which settings tell two runs apart."""
