"""Sections that both reports have: the uncertainty's calibration, how to cite, how to run it again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from . import plots
from .citations import citations
from .page import Code, Gallery, Section, Sentences, Table
from .pictures import Picture
from .provenance import fingerprint, versions
from .words import number, percent, reflectance, signed

HASH_COLUMNS = ("File", "SHA-256")


def calibration(
    found: Mapping[str, Any], sample: tuple[np.ndarray, np.ndarray], lead: str, *, places: bool = True
) -> Section:
    """Whether the announced error holds.

    Args:
        found: from :meth:`confidence.Confidence.figures`, or the same keys.
        sample: announced deviations and errors, each (N,). lead: what was measured on what.
        places: also by distance to the nearest clear pixel, where that is known.
    """
    sigma, error = sample
    pictures = [
        Picture("Intervals", plots.coverage(found["coverage"]), "Share of true values inside the intervals",
                "On the dashed line an interval holds what it promises; above it errors are smaller than said."),
        Picture("Announced and measured error", plots.reliability(sigma, error), "Announced against measured error",
                "Groups of equally many values, from the most to the least certain."),
        Picture("Discarding the uncertain", plots.discard(found["discard_curve_rmse"]), "RMSE of the most certain",
                "If the curve rises to the right, the uncertainty finds the bad pixels."),
    ]  # fmt: skip
    rows = [["Inside the intervals", *(percent(share) for share in found["coverage"].values())]]
    parts = found.get("parts", {}) if places else {}
    rows += [[f"… {name} from clear", *(percent(share) for share in part.values())] for name, part in parts.items()]
    table = Table(["", *(f"{level} % interval" for level in found["coverage"])], rows)
    errors = Table(
        ["", "UCE", "AUCE", "UCE, equal counts", "Mean deviation"],
        [["Reflectance", reflectance(found["uce"]), reflectance(found["auce"]), reflectance(found["uce_equal_counts"]),
          reflectance(found["mean_sigma"])]],
        note="UCE: mean difference of announced and measured error over bins of the variance, weighted by their "
        "counts; AUCE: without weights (20 bins of equal width, as UnCRtainTS). Equal counts: UCE over ten bins of "
        "equally many values.",
    )  # fmt: skip
    return Section("Does the uncertainty hold?", lead, [table, Gallery(pictures), errors])


def cite(names: Iterable[str]) -> Section:
    """How to cite."""
    return Section("How to cite", "In a publication, name what made the result:", [Sentences(citations(names))])


def again(job: str, paths: Sequence[str], more: Iterable[tuple[str, str]] = ()) -> Section:
    """Everything needed to run it again.

    Args:
        job: as one line of JSON. paths: files that went in. more: versions beside those of :func:`versions`.
    """
    text = json.dumps(json.loads(job), indent=1, ensure_ascii=False)
    hashes = [[path, fingerprint(path)] for path in dict.fromkeys(paths)]
    return Section(
        "Run it again",
        "Save the job as job.json and run, with the plugin's Python and in the folder that holds cloud_removal_plugin: "
        "python -m cloud_removal_plugin run job.json. The same files, versions and seed give the same result.",
        [
            Code("The job", text, folded=True),
            Code(
                "Fingerprints of the files that went in", "\n".join(f"{value}  {path}" for path, value in hashes), True
            ),
            Code("Versions", "\n".join(f"{name}: {value}" for name, value in versions(more)), folded=True),
        ],
    )


def measures_row(name: str, measures: Mapping[str, Any], share: float | None = None) -> list[str]:
    """One row of a table of measures; ``share``: of all values."""
    cells = [
        name,
        *(reflectance(measures.get(key)) for key in ("mae", "rmse")),
        signed(measures.get("bias")),
        number(measures.get("psnr"), "{:.2f}"),
        number(measures.get("ssim"), "{:.4f}"),
        number(measures.get("sam"), "{:.3f}"),
    ]
    return [*cells, percent(share)] if share is not None else cells


def measure_columns(first: str, sam_unit: str, share: bool = False) -> list[str]:
    """The heads that go with :func:`measures_row`."""
    sam = "SAM (°)" if sam_unit == "degrees" else "SAM (rad)"
    return [first, "MAE", "RMSE", "Bias", "PSNR (dB)", "SSIM", sam, *(["Share of values"] if share else [])]
