"""The run folder: who writes what into it, and who reads it again."""
