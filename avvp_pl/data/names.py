"""Names of videos, events and files: composed and decomposed Unicode (NFC and NFD) are the same name.

``é`` is one sign in NFC, and ``e`` with an accent after it in NFD, as older Macs and some archives write it. Both look
the same. Inside the package all names are composed; only the files of a disk keep their own spelling.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from avvp_pl.errors import InputError, quote


def composed(name: str) -> str:
    r"""Return a name in composed Unicode, NFC.

    >>> composed("Cafe\u0301") == "Caf\u00e9"
    True
    """
    return unicodedata.normalize("NFC", name)


def spellings(folder: Path) -> dict[str, str]:
    """Return how the names of a folder that are not plain ASCII are spelled on its disk, by their composed names.

    There are none without the folder. Raises :class:`InputError` where two files have the same name.
    """
    found: dict[str, str] = {}
    try:
        names = [path.name for path in folder.iterdir() if not path.name.isascii()]
    except (FileNotFoundError, NotADirectoryError):
        return found
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror or error})") from None
    for name in names:
        if found.setdefault(composed(name), name) != name:
            raise InputError(
                f"{folder}: two files are called {quote(composed(name))}, one in composed and one in decomposed "
                "Unicode; remove one of them"
            )
    return found


def feature_key(name: str) -> str:
    """Return the file stem of a video's features: the ID of an LLP-style name (``ID_start_end``), else the whole name.

    >>> feature_key("BjCEufrlXm4_20_30"), feature_key("AP0061o0Nvk_101.8_111.8"), feature_key("holiday_video_1")
    ('BjCEufrlXm4', 'AP0061o0Nvk', 'holiday_video_1')
    """
    if name in {".", ".."} or re.search(r"[/\\\0]", name):
        raise InputError(f"{quote(name)} is not a possible name of a video, as it must not contain a path")
    llp_style = re.fullmatch(r"(.{11})_[\d.]+_[\d.]+", name)
    return llp_style.group(1) if llp_style else name
