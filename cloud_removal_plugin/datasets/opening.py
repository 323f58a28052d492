"""Recognises which data set a folder holds, and opens readers by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import InputError

NAMES = ("sen12mscr", "sen12mscrts", "m3rcr", "earthnet2021", "earthnet2021x", "sen12mscrts_hdf5", "filelist", "scenes")

_SIGNS = {
    "sen12mscr": ("ROIs*_s2_cloudy/s2_cloudy_*",),
    "sen12mscrts": ("ROIs*/*/S2/*",),
    "m3rcr": ("*/planet_cloudy_*/*",),
    "earthnet2021": ("*/*/*.npz", "*_test_split/context/*/*.npz"),
    "earthnet2021x": ("*/*/*.nc", "*/*.nc"),
    "sen12mscrts_hdf5": ("train.hdf5", "val.hdf5", "test.hdf5"),
    "filelist": ("s2_cloudy/*.tif",),
    "scenes": ("*_clear.tif",),
}


def recognise_layout(root: str | Path) -> str:
    """Name of the data set whose layout a folder has.

    Raises:
        InputError: the folder does not exist, or has none of the layouts.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise InputError(f"The data set folder '{folder}' does not exist; choose the folder that holds its files.")
    for name, patterns in _SIGNS.items():
        if any(next(folder.glob(pattern), None) is not None for pattern in patterns):
            return name
    raise InputError(
        f"'{folder}' has the layout of none of the known data sets ({', '.join(NAMES)}). Choose the folder right above "
        "their folders, or name your rasters ..._clear.tif and ..._cloudy.tif."
    )


def reader_of(name: str) -> Callable[..., Any]:
    """The class of a data set.

    Raises:
        InputError: an unknown name.
    """
    if name == "sen12mscr":
        from .sen12mscr import SEN12MSCR

        return SEN12MSCR
    if name == "sen12mscrts":
        from .sen12mscrts import SEN12MSCRTS

        return SEN12MSCRTS
    if name == "m3rcr":
        from .m3rcr import M3RCR

        return M3RCR
    if name == "earthnet2021":
        from .earthnet import EarthNet2021

        return EarthNet2021
    if name == "earthnet2021x":
        from .earthnetx import EarthNet2021x

        return EarthNet2021x
    if name == "sen12mscrts_hdf5":
        from .sen12mscrts_file import SEN12MSCRTSFile

        return SEN12MSCRTSFile
    if name == "filelist":
        from .filelist import FileListTriplets

        return FileListTriplets
    if name == "scenes":
        from .scenes import ScenesDataset, scenes_of_folder

        return lambda root, **options: ScenesDataset(scenes_of_folder(root), **options)
    raise InputError(f"There is no data set '{name}'. Choose one of: {', '.join(NAMES)}.")


def open_dataset(root: str | Path, **options: Any) -> Any:
    """Opens a folder with the reader that its layout asks for.

    Args:
        root: folder.
        options: of that reader.

    Raises:
        InputError: the layout is unknown, or the reader refuses the folder.
    """
    return reader_of(recognise_layout(root))(root, **options)
