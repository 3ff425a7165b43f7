"""The settings of all commands, a folder for each group. ``avvp_pl.compose`` and Hydra itself find them here."""
