"""Cloud cover of files, computed once: a detector over 30 dates of every sample would take days at each epoch."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np


class CoverageStore:
    """Mean of the cloud map by file, size, time of change and detector; lines are appended to one file.

    Several processes may append to it, and each takes over what the others have computed meanwhile; a line that is cut
    off is ignored.

    Args:
        root: folder of the data set.
        detector: name of the map, part of the key.
        folder: where the store lies; None for the user's cache.
    """

    def __init__(self, root: Path, detector: str, folder: Path | None = None) -> None:
        base = folder or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cloud-removal" / "coverage"
        digest = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:24]
        self.root, self.detector, self.path = root, detector, base / f"{digest}.jsonl"
        self.computed = 0
        self._known: dict[str, float] = {}
        self._read = 0
        self._take_over()

    def _take_over(self) -> None:
        """What stands in the file beyond the part that is known, up to the last whole line."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._read)
                whole = file.read().rpartition(b"\n")[0]
        except OSError:
            return
        self._read += len(whole) + bool(whole)
        for line in whole.splitlines():
            try:
                key, value = json.loads(line)
                self._known[key] = float(value)
            except (ValueError, TypeError):
                continue

    def of(self, name: str, cloud_map: Callable[[], np.ndarray]) -> float:
        """Share 0..1 of a file that is covered.

        Args:
            name: path relative to the root.
            cloud_map: computes the map (H, W) where it is not known yet.
        """
        about = (self.root / name).stat()
        key = f"{name}|{about.st_size}|{about.st_mtime_ns}|{self.detector}"
        if key not in self._known:
            self._take_over()
        if key not in self._known:
            self.computed += 1
            self._known[key] = float(np.mean(cloud_map(), dtype=np.float64))
            self._append(key)
        return self._known[key]

    def _append(self, key: str) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([key, self._known[key]]) + "\n")
        except OSError:
            return
