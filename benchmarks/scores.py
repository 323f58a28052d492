"""How an estimate is judged against the withheld truth. Reflectance in, numbers out."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from benchmarks.cases import Case

NINETY = 1.6449
"""Half width of a central 90 % interval in standard deviations, if errors were normal: what a user of sigma takes."""

UCE_BINS = 10


@dataclass(frozen=True)
class Score:
    """One method on one case, over the withheld pixels and all bands.

    Attributes:
        psnr: dB, data range 1.
        mae, rmse: reflectance.
        sam: mean spectral angle in degrees.
        coverage: share of values inside estimate +- 1.645 sigma; NaN without sigma.
        uce: reflectance; ten equal-count bins by sigma, mean of |RMSE of the bin - mean sigma of the bin|.
        expected_rmse: what the method itself announced; NaN = unknown.
        unknown: share of values that the method left without an estimate (scored as the band's mean).
        seconds: wall time of fit and restore, or of the whole job with reading and writing.
        notes: what the method said of itself.
    """

    psnr: float
    mae: float
    rmse: float
    sam: float
    coverage: float
    uce: float
    expected_rmse: float
    unknown: float
    seconds: float
    notes: str = ""

    def as_dict(self) -> dict[str, float | str]:
        """Plain values for JSON."""
        return asdict(self)


def score(
    case: Case,
    estimate: np.ndarray,
    sigma: np.ndarray | None = None,
    expected_rmse: float | None = None,
    seconds: float = 0.0,
    notes: str = "",
) -> Score:
    """Score (C, H, W) reflectance and its (C, H, W) standard deviation on a case."""
    truth = case.truth[:, case.gap].astype(np.float64)
    value = np.array(estimate[:, case.gap], np.float64)
    unknown = ~np.isfinite(value)
    if unknown.any():
        seen = np.nan_to_num(np.nanmean(case.observation.optical[0], axis=(1, 2)))
        value = np.where(unknown, seen[:, None], value)
    error = value - truth
    mse = float(np.mean(error**2))
    covered, uce = _calibration(error, None if sigma is None else sigma[:, case.gap].astype(np.float64))
    return Score(
        psnr=-10.0 * float(np.log10(max(mse, 1e-12))),
        mae=float(np.abs(error).mean()),
        rmse=mse**0.5,
        sam=_angle(value, truth),
        coverage=covered,
        uce=uce,
        expected_rmse=float("nan") if expected_rmse is None else float(expected_rmse),
        unknown=float(unknown.mean()),
        seconds=seconds,
        notes=notes,
    )


def _angle(value: np.ndarray, truth: np.ndarray) -> float:
    """Mean angle in degrees between (C, N) spectra."""
    norm = np.linalg.norm(value, axis=0) * np.linalg.norm(truth, axis=0)
    cosine = (value * truth).sum(axis=0) / np.maximum(norm, 1e-9)
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean())


def _calibration(error: np.ndarray, sigma: np.ndarray | None) -> tuple[float, float]:
    """(coverage of the 90 % interval, uncertainty calibration error) over values whose sigma is known."""
    if sigma is None:
        return float("nan"), float("nan")
    known = np.isfinite(sigma)
    if known.sum() < UCE_BINS:
        return float("nan"), float("nan")
    error, sigma = error[known], sigma[known]
    order = np.argsort(sigma, kind="stable")
    gaps = [
        (len(part), abs(np.sqrt(np.mean(error[part] ** 2)) - sigma[part].mean()))
        for part in np.array_split(order, UCE_BINS)
    ]
    weights, values = np.array(gaps).T
    return float((np.abs(error) <= NINETY * sigma).mean()), float(np.average(values, weights=weights))
