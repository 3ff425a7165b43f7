"""What weak labels teach: one method a file. A method is a :class:`~avvp_pl.parts.Method`."""
