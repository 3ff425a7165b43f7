"""What ``import avvp_pl`` offers: a checkpoint that parses videos, scores as tables, and trainings from Python."""
