"""The processes of a run: signals that stop them, communication between them, and their random numbers."""
