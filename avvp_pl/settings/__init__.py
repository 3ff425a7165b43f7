"""What may be set: limits, names and configuration files, and which settings tell two runs apart."""
