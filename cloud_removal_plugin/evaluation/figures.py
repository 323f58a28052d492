"""The figures of an evaluation as plain data, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .confidence import Confidence
from .conventions import Convention
from .ledger import Ledger, Reading
from .splits import STATES, Splits

MEASURES = ("mae", "rmse", "psnr", "ssim", "sam")
BETTER_HIGH = ("psnr", "ssim")
UNIT = "reflectance (1.0 = 100 %)"


def figures(
    names: Sequence[str],
    bands: Sequence[str],
    usable: np.ndarray,
    ledgers: Sequence[Ledger],
    splits: Splits,
    confidence: Confidence | None,
    rules: Convention,
    pixel_m: float,
) -> tuple[dict[str, Any], list[str]]:
    """All figures of all layers, and sentences on what could not be computed.

    Args:
        names: of the restored layers. bands: roles. usable: bool (C,), bands that hold data.
        ledgers: one a layer. splits: what their numbers mean. confidence: of the first layer, or None.
        rules: how to measure. pixel_m: ground sampling in metres.
    """
    layers = [_layer(name, bands, Reading(book, rules, usable), splits, pixel_m)
              for name, book in zip(names, ledgers, strict=True)]  # fmt: skip
    first = layers[0]
    found: dict[str, Any] = {
        "metrics_as": rules.name,
        "unit": UNIT,
        "sam_unit": rules.angle_unit,
        **{key: first[key] for key in (*MEASURES, "bias", "values")},
        "layers": layers,
        "ranks": ranks(layers),
    }
    if confidence is not None:
        found["uncertainty"] = _uncertainty(confidence, splits, bands, usable, pixel_m)
    return found, _remarks(layers, bands, usable, ledgers, splits, rules)


def _layer(name: str, bands: Sequence[str], reading: Reading, splits: Splits, pixel_m: float) -> dict[str, Any]:
    parts: dict[str, dict[str, Any]] = {}
    for split, part, chosen in splits.parts(pixel_m):
        parts.setdefault(split, {})[part] = reading.overall(chosen)
    return {
        "name": name,
        **reading.overall(),
        "parts": parts,
        "bands": {role: _band(reading, place, splits, pixel_m) for place, role in enumerate(bands)},
    }


def _band(reading: Reading, place: int, splits: Splits, pixel_m: float) -> dict[str, Any]:
    """One band, whole and where it was restored."""
    chosen = {part: keys for split, part, keys in splits.parts(pixel_m) if split == "state"}
    return {**reading.band(place), **{name: reading.band(place, keys) for name, keys in chosen.items()}}


def ranks(layers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Places of the layers (1 = best) in each measure, over restored pixels where they are known, and their mean."""
    if len(layers) < 2:
        return []
    judged = [_judged_part(layer) for layer in layers]
    places: list[dict[str, Any]] = [{"name": layer["name"]} for layer in layers]
    for measure in MEASURES:
        values = [part[measure] for part in judged]
        if any(value is None for value in values):
            continue
        sign = -1 if measure in BETTER_HIGH else 1
        for place, value in zip(places, values, strict=True):
            place[measure] = 1 + sum(sign * other < sign * value for other in values)
    for place in places:
        own = [place[measure] for measure in MEASURES if measure in place]
        place["mean_rank"] = sum(own) / len(own) if own else None
    return places


def _judged_part(layer: Mapping[str, Any]) -> Mapping[str, Any]:
    restored = layer["parts"].get("state", {}).get(STATES[1])
    return restored if restored and restored["values"] else layer


def _uncertainty(
    confidence: Confidence, splits: Splits, bands: Sequence[str], usable: np.ndarray, pixel_m: float
) -> dict[str, Any] | None:
    found = confidence.figures()
    if found is None:
        return None
    found["bands"] = {role: confidence.coverage(band=place) for place, role in enumerate(bands) if usable[place]}
    found["parts"] = {}
    for split, part, chosen in splits.parts(pixel_m):
        if split == "distance to clear" and confidence.count[chosen].sum():
            found["parts"][part] = confidence.coverage(chosen)
    return found


def _remarks(
    layers: Sequence[Mapping[str, Any]],
    bands: Sequence[str],
    usable: np.ndarray,
    ledgers: Sequence[Ledger],
    splits: Splits,
    rules: Convention,
) -> list[str]:
    remarks = []
    flat = np.array(bands)[Reading(ledgers[0], rules, usable).constant]
    if flat.size:
        left = "left out" if rules.leaves_constant else "computed all the same, as the paper's code does"
        remarks.append(
            f"The reference is constant in {', '.join(flat)}: there is no structure to compare, so SSIM is undefined "
            f"there and was {left}."
        )
    if splits.states and not layers[0]["parts"]["state"][STATES[1]]["values"]:
        remarks.append(
            "No pixel with data counts as restored: the mask selects none (or, without a mask, none differs from the "
            "cloudy layer or has an uncertainty above 0). Only whole figures are given."
        )
    elif splits.states and not layers[0]["parts"]["state"][STATES[0]]["values"]:
        remarks.append("Every pixel counts as restored: there are no kept pixels to compare.")
    for layer in layers:
        if layer["psnr"] is None:
            remarks.append(f"{layer['name']}: no PSNR, because '{rules.name}' refuses reflectance outside -1..1.")
        if layer["ssim"] is None and not flat.size:
            remarks.append(f"{layer['name']}: no SSIM, because no window of {rules.similarity.size} pixels is whole.")
    return remarks


def plain(value: Any) -> Any:
    """Numbers that JSON knows: NaN and infinity become None."""
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def as_json(found: Mapping[str, Any]) -> str:
    """The figures as JSON."""
    return json.dumps(plain(found), indent=1, ensure_ascii=False) + "\n"


def as_csv(found: Mapping[str, Any]) -> str:
    """One row a layer, split, part and band; an empty cell is a measure that is not known."""
    columns = ("values", *MEASURES, "bias")
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(("layer", "split", "part", "band", *columns))

    def add(layer: str, split: str, part: str, band: str, measures: Mapping[str, Any]) -> None:
        values = (plain(measures.get(column)) for column in columns)
        rows.writerow((layer, split, part, band, *("" if value is None else value for value in values)))

    for layer in found["layers"]:
        add(layer["name"], "all", "all", "all", layer)
        for split, parts in layer["parts"].items():
            for part, measures in parts.items():
                add(layer["name"], split, part, "all", measures)
        for band, measures in layer["bands"].items():
            add(layer["name"], "all", "all", band, measures)
            for state in STATES:
                if state in measures:
                    add(layer["name"], "state", state, band, measures[state])
    return out.getvalue()
