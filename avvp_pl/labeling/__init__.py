"""Where pseudo labels come from, and what they teach: one source a file, each a :class:`~avvp_pl.parts.Labeling`."""
