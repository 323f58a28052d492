"""DSen2-CR's ``datasetfilelist.csv`` and folders of equally named patches.

Meraner et al. 2020, doi 10.1016/j.isprsjprs.2020.05.013. A line holds split (1 train, 2 validation, 3 test), folders of
radar, clear and cloudy patches, and the file name that all three share. The reader of the publication wants
commas, the list
that comes with it has tabs: both are read.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from ..errors import InputError
from .files import Problems, scan
from .sen12mscr import TripletDataset

SPLIT_CODES = {"1": "train", "2": "val", "3": "test"}
COLUMNS = 5


def read_file_list(path: Path) -> list[tuple[str, str, str, str]]:
    """Rows of (split name, radar, clear, cloudy), paths relative to the data folder.

    Raises:
        InputError: the list cannot be read, a line has another number of columns or an unknown split code.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The list '{path}' cannot be read ({error}).") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        cells = next(csv.reader([line], delimiter="\t" if "\t" in line else ","))
        # a whole line in quotes is one field to a spreadsheet
        cells = next(csv.reader(cells)) if len(cells) == 1 else cells
        cells = [cell.strip() for cell in cells]
        if len(cells) != COLUMNS:
            raise InputError(f"Line {number} of '{path}' has {len(cells)} columns; {COLUMNS} are needed: split, folders"
                             " of radar, clear and cloudy patches, file name.")  # fmt: skip
        code, radar, clear, cloudy, name = cells
        if code not in SPLIT_CODES:
            raise InputError(f"Line {number} of '{path}' has the split code '{code}'; 1, 2 and 3 are known.")
        rows.append((SPLIT_CODES[code], f"{radar}/{name}", f"{clear}/{name}", f"{cloudy}/{name}"))
    return rows


class FileListTriplets(TripletDataset):
    """Triplets of a list, or of three folders with equal names.

    Args:
        root: the list's ``input_data_folder``.
        file_list: the CSV; None to pair the folders ``s1``, ``s2_cloudfree`` (or ``s2_cloudFree``) and ``s2_cloudy``.
        split: ``all``, ``train``, ``val`` or ``test``; folders without a list know ``all`` only.
        cloud_masks, rescale_method: see :class:`~.sen12mscr.TripletDataset`.
        on_problem: ``raise`` or ``skip``.
        cache: folder of remembered scans.

    Raises:
        InputError: the list or the files are not what they should be, or the split is empty.
    """

    def __init__(
        self,
        root: str | Path,
        file_list: str | Path | None = None,
        split: str = "all",
        cloud_masks: str | None = "cloud_cloudshadow_mask",
        rescale_method: str = "resnet",
        on_problem: str = "raise",
        cache: Path | None = None,
    ) -> None:
        root, problems = Path(root), Problems()
        if split not in ("all", *SPLIT_CODES.values()):
            raise InputError(f"There is no split '{split}'. Choose one of: all, {', '.join(SPLIT_CODES.values())}.")
        found = scan(root, cache)
        present = frozenset(found.files)
        if file_list is not None:
            rows = [row[1:] for row in read_file_list(Path(file_list)) if split in ("all", row[0])]
        elif split == "all":
            rows = _pairs(root, found.files)
        else:
            raise InputError("Folders without a file list have no splits; give a list, or use split='all'.")
        whole = []
        for row in rows:
            lost = [name for name in row if name not in present]
            broken = [name for name in row if name in found.truncated]
            problems.missing += lost
            problems.truncated += broken
            if not lost and not broken:
                whole.append(row)
        self.skipped = problems.settle(on_problem, "The data set", root)
        if not whole:
            raise InputError(f"The split '{split}' holds no triplet in '{root}'; look at the list and the folder.")
        super().__init__(root, whole, cloud_masks, rescale_method)

    def group_of(self, index: int) -> str:
        """Region of a triplet: its file name without the patch."""
        return re.sub(r"_p\d+$", "", Path(self.triplets[index][1]).stem)


def _pairs(root: Path, files: tuple[str, ...]) -> list[tuple[str, str, str]]:
    """One row for each name that occurs in any of the three folders."""
    clear = next((name for name in ("s2_cloudfree", "s2_cloudFree") if (root / name).is_dir()), "s2_cloudfree")
    folders = ("s1", clear, "s2_cloudy")
    names = [name.split("/")[1] for name in files if name.count("/") == 1 and name.split("/")[0] in folders]
    return [tuple(f"{folder}/{name}" for folder in folders) for name in dict.fromkeys(names)]  # type: ignore[misc]
