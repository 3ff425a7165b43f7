"""What the commands share: the command line, objects built from a configuration, processes started."""
