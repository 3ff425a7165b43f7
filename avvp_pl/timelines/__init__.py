"""Timelines: what was found in one video, as an object that prints as a table and saves to every format."""
