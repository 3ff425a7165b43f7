"""What the commands share: the command line, objects built from a configuration, processes started."""

import sys

from avvp_pl.errors import NO_WINDOWS

if sys.platform == "win32":  # fcntl, which locks folders, and some signals do not exist there
    sys.exit(NO_WINDOWS)
