"""Where the analyst's weights lie: one file a network, in a folder that no update of the plugin touches."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from ..errors import OutputError
from .shipped import shipped_folder
from .stored import Stored, read_header

VARIABLE = "CLOUD_REMOVAL_WEIGHTS"
"""Environment variable that names the folder and goes before the setting."""

SUFFIX = ".safetensors"


def weights_folder(chosen: str = "") -> Path:
    """The weights folder: the environment's, else the analyst's setting, else one in their data folder."""
    named = os.environ.get(VARIABLE, "").strip() or chosen.strip()
    return Path(named).expanduser() if named else _data_folder() / "cloud_removal" / "weights"


def _data_folder() -> Path:
    """Where programs keep a person's data on this system."""
    home = Path.home()
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    if sys.platform == "darwin":
        return home / "Library" / "Application Support"
    return Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")


def path_of(network: str, folder: Path) -> Path:
    """Where the weights of a network are looked for."""
    return folder / f"{network}{SUFFIX}"


def find(network: str, folder: Path) -> Stored | None:
    """The stored weights of a network: the analyst's own, else those that ship with the plugin, else None.

    Raises:
        InputError: the file is there but damaged, or belongs to another network.
    """
    shipped = shipped_folder()
    for place in (folder, shipped) if shipped else (folder,):
        path = path_of(network, place)
        if path.is_file():
            return read_header(path, network)
    return None


def others(network: str, folder: Path, first: Stored) -> list[Stored]:
    """Further weights of a network that lie beside its first ones, as members of an ensemble; in the order of names.

    Raises:
        InputError: a file is damaged, or belongs to another network.
    """
    if first.path.parent != folder:
        return []
    return [read_header(path, network) for path in sorted(folder.glob(f"{network}.member*{SUFFIX}"))]


def in_use(network: str, folder: Path) -> list[Stored]:
    """The sets of weights that a network runs with: none, one, or the members of an ensemble.

    Raises:
        InputError: a file is damaged, or belongs to another network.
    """
    first = find(network, folder)
    return [] if first is None else [first, *others(network, folder, first)]


def publish(network: str, folder: Path, write: Callable[[Path], None], add: bool = False) -> tuple[Path, Path | None]:
    """Put new weights of a network into the folder; whatever goes wrong, nothing half-written is left.

    Args:
        network: name in the registry.
        folder: made if it is not there.
        write: writes the file at the path that it is given.
        add: whether weights that are there stay in use beside the new ones (see :func:`others`).

    Returns:
        The new file (with ``add`` the old one, where the very same weights are there), and where other weights of the
        same network, which it replaced, were kept (None: there were none).

    Raises:
        OutputError: the folder cannot be written.
    """
    target, kept = path_of(network, folder), None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{network}.", suffix=".part", dir=folder)
        os.close(handle)
        temporary = Path(name)
        try:
            write(temporary)
            temporary.chmod(0o644)
            if add:
                target = _place_beside(target, temporary)
            if target.is_file() and not _equal(target, temporary):
                kept = _unused(target)
                os.replace(target, kept)
            os.replace(temporary, target)
        except BaseException:
            if kept is not None and not target.exists():
                os.replace(kept, target)
            raise
        finally:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
    except OSError as error:
        raise OutputError(
            f"The weights cannot be written to '{folder}' ({error.strerror or error}). Make room or choose another "
            f"folder in the options of Cloud Removal, or with {VARIABLE}."
        ) from error
    return target, kept


def _place_beside(target: Path, new: Path) -> Path:
    """Where weights go that are to be used together with others: the first free name, or the file that equals them."""
    number, stem = 2, target.name.removesuffix(SUFFIX)
    while target.is_file() and not _equal(target, new):
        target = target.with_name(f"{stem}.member{number}{SUFFIX}")
        number += 1
    return target


def _equal(one: Path, other: Path) -> bool:
    """Whether two stored files hold the same; the order of what stands in their headers differs from time to time."""
    first, second = (_parts(path.read_bytes()) for path in (one, other))
    return first == second


def _parts(content: bytes) -> tuple[object, bytes]:
    """Header and numbers of a stored file; all of it where it is none."""
    end = 8 + int.from_bytes(content[:8], "little")
    try:
        return json.loads(content[8:end]), content[end:]
    except ValueError:
        return None, content


def _unused(path: Path) -> Path:
    """A name beside ``path`` that no file has: dsen2cr.old1.safetensors."""
    number = 1
    while (found := path.with_name(f"{path.stem}.old{number}{path.suffix}")).exists():
        number += 1
    return found
