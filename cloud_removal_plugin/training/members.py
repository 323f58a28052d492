"""Predictions of DSen2-CR and GLF-CR that the TUA-CR head learns to join; both are frozen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from ..models.conversion import load
from ..models.records import RECORDS
from ..weights.folder import find, weights_folder
from ..weights.stored import read_header
from .feeds import Batch
from .sizes import cut, filled, size_of

NAMES = ("dsen2cr", "glfcr")


class Members:
    """The two networks with their weights.

    Args:
        options: ``dsen2cr`` and ``glfcr``: weights files; by default those of the weights folder.
        device: where they run.

    Raises:
        InputError: a file is missing or belongs to another network.
    """

    def __init__(self, options: Mapping[str, Any], device: str) -> None:
        self.networks = {name: self._network(name, str(options.get(name, "")), device) for name in NAMES}

    @staticmethod
    def _network(name: str, path: str, device: str) -> Any:
        stored = read_header(Path(path), name) if path else find(name, weights_folder())
        if stored is None:
            raise InputError(
                f"TUA-CR learns from predictions of {' and '.join(NAMES)}, but there are no weights of {name}. "
                "Import them "
                "(importweights), or name the file in the training's options."
            )
        return load(stored).to(device)

    def complete(self, batch: Batch) -> dict[str, torch.Tensor]:
        """The batch with ``dsen2`` and ``glf``, as CR_system reads them from its files: the first in 0..1, the second
        clipped at 0 only."""
        optical, radar = batch["optical"], batch["radar"]
        wide = filled({"optical": optical, "radar": radar}, RECORDS["glfcr"])
        with torch.no_grad():
            # all three clip alike; DSen2-CR's ranges are 0..5 and 0..2
            dsen2 = (self.networks["dsen2cr"](5 * optical, 2 * radar) / 5).clamp(0, 1)
            glf = cut(self.networks["glfcr"](wide["optical"], wide["radar"]), size_of(batch)).clamp(min=0)
        return {**batch, "dsen2": dsen2, "glf": glf}
