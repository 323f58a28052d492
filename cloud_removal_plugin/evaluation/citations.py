"""How to cite what was used, by the names that members, methods, detectors and conventions have here."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from ..models.records import RECORDS

_OURS = "Cloud Removal for QGIS (this plugin, with its version as given below)."
_RECORD_OF = {"uncrtaints": "uncrtaints_mono", "utilise": "utilise_earthnet2021", "crsystem": "tuacr"}
"""Names of conventions whose network's record has a longer one."""


@cache
def _known() -> dict[str, str]:
    """What is no network: from ``citations.json`` beside this file."""
    return json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))


def citations(names: Iterable[str]) -> list[str]:
    """Sentences on how to cite the named methods, each once; the plugin first. Unknown names are left out."""
    found = [_OURS]
    for name in names:
        sentence = _known().get(name, "")
        record = RECORDS.get(name) or RECORDS.get(_RECORD_OF.get(name, ""))
        if not sentence and record:
            sentence = f"{record.title}: {record.paper}, {record.link}."
        if sentence and sentence not in found:
            found.append(sentence)
    return found
