"""METHOD=crsystem: CR_system's pipeline over whole scenes; the bands that it does not restore come from ``auto``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ..models.records import RECORDS
from ..weights.stored import Stored
from .attention import Attention
from .facts import SceneFacts
from .learned import Learned, stored_of
from .learned_window import ratio_of

PARTS = ("dsen2cr", "glfcr")
"""What the head stacks; both are needed."""


class CRSystem(Learned):
    """DSen2-CR, GLF-CR and the TUA-CR head as one network that restores blue, green and red.

    Args:
        folder: of the weights; None = the analyst's.
        memory_mb: what the job may use in MiB; 0 = a default.
    """

    rest_method = "auto"

    def __init__(self, folder: Path | None = None, memory_mb: int = 0) -> None:
        super().__init__("tuacr", folder, memory_mb)
        self.name = "crsystem"
        parts = [self._record, *(RECORDS[name] for name in PARTS)]
        # windows must suit all three, and the hungriest decides the memory
        self._record = replace(
            self._record,
            title="CR_system (DSen2-CR, GLF-CR, TUA-CR)",
            size_multiple=max(part.size_multiple for part in parts),
            size_least=max(part.size_least for part in parts),
            memory_kib=max(part.memory_kib for part in parts),
            memory_base=sum(part.memory_base for part in parts),
        )
        self._parts: dict[str, Stored] = {}

    def prepare(self, facts: SceneFacts) -> None:
        """Refuse a scene that lacks what one of the networks needs (see :class:`Particular`)."""
        self._parts = {name: stored_of(RECORDS[name], self._folder) for name in PARTS}
        super().prepare(facts)

    def attention(self, device: str) -> Attention:
        """Where the head sees clouds, over the scene that the method was prepared for (see :class:`Attentive`)."""
        from ..models.tuacr import ATTENTION_REACH

        stored = (self._stored, *self._parts.values())
        return Attention(
            network=self._network(device), reach=ATTENTION_REACH, multiple=self._record.size_multiple,
            bands=self._record.bands, ratio=ratio_of(self._facts.pixel_m, self._record), shape=self._facts.shape,
            parallel=device == "cpu", title=self._record.title, weights=tuple(each.sha256 for each in stored),
        )  # fmt: skip

    def _network(self, device: str) -> Any:
        if device not in self._networks:
            from ..models.conversion import load
            from ..models.crsystem import CRSystem as Pipeline

            parts = [load(self._parts[name]) for name in PARTS]
            self._networks[device] = Pipeline(*parts, load(self._stored)).eval().to(device)
        return self._networks[device]
