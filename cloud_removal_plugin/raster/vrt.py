"""What the bands of a VRT are called, by the files that they come from.

``gdalbuildvrt -separate`` and *Build Virtual Raster* stack one file a band; before GDAL 3.7 the bands get no names.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

_BAND = re.compile(r"<VRTRasterBand\b.*?</VRTRasterBand>", re.DOTALL)
_SOURCE = re.compile(r"<SourceFilename[^>]*>([^<]+)</SourceFilename>")
_BREAK = re.compile(r"[_.\- ]+")
_CALLED = re.compile(r"(?i)(?<![a-z0-9])(b0?\d{1,2}a?|coastal|blue|green|red|nir\d*|swir\d*|rededge\d?)(?![a-z0-9])")


def names_by_file(path: str, count: int) -> tuple[str, ...]:
    """What tells the file names of the bands' first sources apart, such as ``B02_10m``.

    Args:
        path: of the VRT. count: its number of bands.

    Returns:
        One name a band, or () where the files do not tell: other bands than files, or no names of bands in them.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ()
    files = [_SOURCE.search(band) for band in _BAND.findall(text)]
    if count < 2 or len(files) != count or not all(files):
        return ()
    words = [_BREAK.split(PurePosixPath(found[1].replace("\\", "/")).stem) for found in files if found]
    while all(words) and len({each[0] for each in words}) == 1:
        words = [each[1:] for each in words]
    while all(words) and len({each[-1] for each in words}) == 1:
        words = [each[:-1] for each in words]
    names = tuple("_".join(each) for each in words)
    called = sum(bool(_CALLED.search(name)) for name in names)
    return names if len(set(names)) == count and 2 * called >= count else ()
