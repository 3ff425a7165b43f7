"""When things happen: pseudo labels refreshed, files written, panels logged."""
