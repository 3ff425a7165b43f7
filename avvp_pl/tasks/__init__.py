"""The tasks: how a result is scored, written and printed. So far video parsing."""
