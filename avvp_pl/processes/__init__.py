"""The processes of a run: signals that stop them, collectives between them, and their random numbers."""
