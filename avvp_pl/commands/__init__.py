"""What the commands share: the command line, objects built from a configuration, processes started."""

import sys

if sys.platform == "win32":  # fcntl, which locks folders, and some signals do not exist there
    sys.exit("avvp_pl does not run on Windows. Run it in the Windows Subsystem for Linux (WSL), which is Linux.")
