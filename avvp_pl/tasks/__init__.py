"""The tasks: how results are scored, written and printed. So far video parsing."""
