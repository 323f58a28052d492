"""Measures of whole images exactly as the code of each published system computes them.

Sources: DSen2-CR (Meraner et al. 2020), GLF-CR (Xu et al. 2022), UnCRtainTS (Ebel et al. 2023), SEN12MS-CR-TS (Ebel et
al. 2022), U-TILISE (Stucker et al. 2023), CR_system, Clear Vision (https://github.com/caoymg/Clear-Vision). Arrays are
(C, H, W), or (N, C, H, W) where a batch is meant; bands lie on axis -3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .formulas import angles, errors, guessed_range, mae, mse, psnr, rmse
from .similarity import CENTRED, INSIDE, OFF_CENTRE, SMALL, SMALL_CLAMPED, Similarity

BANDS = -3
DSEN2CR_SCALE = 5.0
"""Reflectance 1.0 on the scale of DSen2-CR: 10,000 / 2,000."""


def _mean_similarity(how: Similarity, estimate: np.ndarray, truth: np.ndarray) -> float:
    """Mean over images and bands."""
    shape = estimate.shape[-2:]
    return how.mean(np.reshape(estimate, (-1, *shape)), np.reshape(truth, (-1, *shape)))


def glfcr(estimate: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> dict[str, float]:
    """PSNR (100 dB where nothing is wrong) and SSIM; with a mask (H, W) PSNR over its pixels."""
    error = errors(estimate, truth)
    found = {"psnr": psnr(mse(error), perfect=100.0), "ssim": _mean_similarity(OFF_CENTRE, estimate, truth)}
    if mask is not None:
        square = float((error**2 * mask).sum() / (np.sum(mask) * error.shape[BANDS]))
        found["psnr_masked"] = psnr(square, perfect=100.0)
    return found


def uncrtaints(estimate: np.ndarray, truth: np.ndarray, variance: np.ndarray | None = None) -> dict[str, float]:
    """RMSE, MAE, PSNR, SAM in degrees and SSIM; with a variance also what calibration is computed from."""
    error = errors(estimate, truth)
    found = {
        "RMSE": rmse(error),
        "MAE": mae(error),
        "PSNR": psnr(mse(error)),
        "SAM": float(np.degrees(angles(estimate, truth, BANDS).mean())),
        "SSIM": _mean_similarity(CENTRED, estimate, truth),
    }
    if variance is not None:
        found |= {"error": -float(error.mean()), "mean ae": mae(error), "mean se": mse(error)}
        found["mean var"] = float(np.mean(variance, dtype=np.float64))
    return found


def crsystem(estimate: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """SSIM, PSNR and L1 of red, green and blue (3, H, W); PSNR is NaN where scikit-image would refuse the estimate."""
    error = errors(estimate, truth)
    peak = guessed_range(estimate)
    return {
        "ssim": _mean_similarity(SMALL, estimate, truth),
        "psnr": float("nan") if peak is None else psnr(mse(error), peak),
        "l1": mae(error),
    }


def dsen2cr(estimate: np.ndarray, truth: np.ndarray, cloudy: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """The Keras metrics of DSen2-CR.

    Args:
        estimate, truth, cloudy: (N, C, H, W) on the scale of the network, reflectance x 5.
        mask: (N, H, W), 1 under clouds and shadows.

    Returns:
        Errors on the scale of the network, angles in radians; ``clear`` ones against the cloudy input. A measure of an
        empty part is 0.
    """
    error = errors(estimate, truth)
    per_band = np.sqrt(np.square(error).mean(axis=(-2, -1)))
    sam = angles(estimate, truth, BANDS)
    clear = 1.0 - mask
    found = {
        "carl_error": carl(estimate, truth, cloudy, mask),
        "cloud_mean_absolute_error": mae(error),
        "cloud_mean_squared_error": mse(error),
        "cloud_root_mean_squared_error": rmse(error),
        "cloud_bandwise_root_mean_squared_error": float(per_band.mean()),
        "cloud_ssim": _mean_similarity(INSIDE, estimate / DSEN2CR_SCALE, truth / DSEN2CR_SCALE),
        "cloud_mean_sam": float(sam.mean()),
        "cloud_mean_sam_covered": _weighted(sam, mask),
        "cloud_mean_sam_clear": _weighted(angles(estimate, cloudy, BANDS), clear),
        "cloud_psnr": psnr(mse(error), DSEN2CR_SCALE),
    }
    absolute = np.abs(error).mean(axis=BANDS)
    found["cloud_mean_absolute_error_covered"] = _weighted(absolute, mask)
    found["cloud_mean_absolute_error_clear"] = _weighted(np.abs(errors(estimate, cloudy)).mean(axis=BANDS), clear)
    return found


def carl(estimate: np.ndarray, truth: np.ndarray, cloudy: np.ndarray, mask: np.ndarray) -> float:
    """The cloud-adaptive regularised loss (Meraner et al. 2020, equation 4): keep what is clear, restore the rest."""
    weight = np.expand_dims(mask, BANDS)
    to_truth = np.abs(errors(estimate, truth))
    to_input = np.abs(errors(estimate, cloudy))
    return float(((1 - weight) * to_input + weight * to_truth).mean() + to_truth.mean())


def carl_gradient(estimate: np.ndarray, truth: np.ndarray, cloudy: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Derivative of :func:`carl` by every value of the estimate (0 where a difference is 0)."""
    weight = np.expand_dims(mask, BANDS)
    to_truth = np.sign(errors(estimate, truth))
    to_input = np.sign(errors(estimate, cloudy))
    return ((1 - weight) * to_input + (1 + weight) * to_truth) / estimate.size


def _weighted(values: np.ndarray, weight: np.ndarray) -> float:
    total = float(np.sum(weight))
    return float((values * weight).sum() / total) if total else 0.0


def sen12mscrts(estimate: np.ndarray, truth: np.ndarray, covered: np.ndarray) -> dict[str, float]:
    """Measures of SEN12MS-CR-TS.

    Args:
        estimate, truth: (C, H, W) reflectance.
        covered: bool (H, W), hidden on at least one input date.

    Returns:
        RMSE, MAE (also of the covered pixels and of those clear on all dates), PSNR, SAM in radians, SSIM.
    """
    error = errors(estimate, truth)
    found = {}
    for name, part in (("", None), ("_cloudy", covered), ("_cloudfree", ~covered)):
        chosen = error if part is None else errors(estimate, truth, part)
        found |= {f"RMSE{name}": rmse(chosen), f"MAE{name}": mae(chosen)}
    found["PSNR"] = psnr(mse(error))
    found["SAM"] = float(angles(estimate, truth, BANDS).mean())
    found["SSIM"] = _mean_similarity(CENTRED, estimate, truth)
    return found


def clearvision(estimate: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """What Clear Vision's figures need of one series' frames, (T, C, H, W): PSNR with the truth's maximum as its peak.

    Its authors add up all series before they take the logarithm, see :func:`clearvision_together`.
    """
    square, peak = mse(errors(estimate, truth)), float(truth.max())
    return {"psnr_of_peak": psnr(square, peak), "peak": peak, "values": float(truth.size)}


def clearvision_together(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """RMSE and PSNR over all values of all series at once, hidden and seen pixels together.

    Args:
        rows: of each series :func:`clearvision`'s figures and ``mse``.
    """
    count, peak = sum(row["values"] for row in rows), max(row["peak"] for row in rows)
    square = sum(row["mse"] * row["values"] for row in rows) / count
    return {"mse": square, "rmse": square**0.5, "psnr_of_peak": psnr(square, peak), "peak": peak, "values": count}


def utilise(
    estimate: np.ndarray,
    truth: np.ndarray,
    occluded: np.ndarray,
    cloudy: np.ndarray | None = None,
    *,
    degrees: bool = True,
    split: bool = True,
) -> dict[str, float]:
    """Measures of U-TILISE over the valid frames of one or several series.

    Args:
        estimate, truth: (N, C, H, W) reflectance; padded frames are left out by the caller.
        occluded: bool (N, H, W), hidden in the input.
        cloudy: bool (N, H, W), hidden in the truth, which is then left out; None = all counts.
        degrees: SAM in degrees (evaluation), else in radians (training).
        split: also by hidden and seen input pixels.

    Returns:
        Values by the names that U-TILISE gives them. Errors are over all values at once; SSIM is never masked.
    """
    prefix = "" if cloudy is None else "masked_"
    known = np.ones(occluded.shape, bool) if cloudy is None else ~cloudy
    frames = [_mean_similarity(SMALL_CLAMPED, one, other) for one, other in zip(estimate, truth, strict=True)]
    found = {"ssim": float(np.mean(frames))}
    parts = [("", np.ones(occluded.shape, bool))]
    if split:
        parts += [("_occluded_input_pixels", occluded), ("_observed_input_pixels", ~occluded)]
        touched = occluded.any(axis=(-2, -1))
        for name, chosen in (("occluded", touched), ("observed", ~touched)):
            some = [value for value, use in zip(frames, chosen, strict=True) if use]
            found[f"ssim_images_{name}_input_pixels"] = float(np.mean(some)) if some else float("nan")
    sam = angles(estimate, truth, BANDS)
    for name, part in parts:
        chosen = known & part
        error = errors(estimate, truth, np.expand_dims(chosen, BANDS))
        angle = sam[chosen & np.isfinite(sam)]
        mean_angle = float(angle.mean()) if angle.size else float("nan")
        found |= {
            f"{prefix}mae{name}": mae(error),
            f"{prefix}mse{name}": mse(error),
            f"{prefix}rmse{name}": rmse(error),
            f"{prefix}psnr{name}": psnr(mse(error)),
            f"{prefix}sam{name}": float(np.degrees(mean_angle)) if degrees else mean_angle,
        }
    return found
