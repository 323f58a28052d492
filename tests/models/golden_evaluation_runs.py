"""How the golden cases of measures, calibration and previews are run."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from cloud_removal_plugin.bands import SENTINEL2_L1C
from cloud_removal_plugin.clouds import score
from cloud_removal_plugin.evaluation import calibration, previews, published
from tests.models.golden_files import Case, real_patch

RED, GREEN, BLUE = 3, 2, 1


def compare_values(case: Case, found: Mapping[str, float], expected: Mapping[str, float]) -> None:
    """Every expected number must be among the found ones and within the case's tolerance."""
    tolerance = case.meta["tolerance"]
    if "rtol" not in tolerance:
        tolerance = tolerance["*"]
    for name, value in expected.items():
        np.testing.assert_allclose(
            found[name], value, rtol=tolerance["rtol"], atol=tolerance.get("atol", 0.0), err_msg=name
        )


def images(case: Case, prefix: str) -> dict[str, np.ndarray]:
    """Tensors of a case as arrays."""
    return {name: value.numpy() for name, value in case.tensors(prefix).items()}


def clouds_and_shadows(reflectance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the detector of DSen2-CR finds in (13, H, W): bool (H, W) clouds, and shadows."""
    planes = score.prepare(reflectance, SENTINEL2_L1C, score.DSEN2CR)
    return score.cloud_score(planes, score.DSEN2CR) >= score.THRESHOLD, score.shadow_mask(planes)


def _metrics_inputs(case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Estimate, truth and (on real patches) the cloudy input."""
    x = images(case, "x")
    if x:
        return x["pred"], x["target"], None
    sample = case.meta["sample"]
    whole = [0, 0, 256, 256]
    truth, cloudy = (np.clip(real_patch(kind, sample, whole), 0, 1) for kind in ("s2_cloudfree", "s2_cloudy"))
    shares = _numbers(r"([\d.]+)\*cloudfree\+([\d.]+)\*cloudy", case.meta["pred"])
    return np.float32(shares[0]) * truth + np.float32(shares[1]) * cloudy, truth, cloudy


def _numbers(pattern: str, text: str) -> list[float]:
    """The numbers that a case's recipe names; a recipe in other words fails here."""
    found = re.search(pattern, text)
    assert found, text
    return [float(part) for part in found.groups()]


def run_metrics(case: Case) -> None:
    estimate, truth, cloudy = _metrics_inputs(case)
    step, start = _numbers(r"columns with index%(\d+)==(\d+)", case.meta["mask_for_glf_psnr_masked"])
    some_columns = np.zeros(truth.shape[1:])
    some_columns[:, int(start) :: int(step)] = 1
    factor, floor = _numbers(r"var = ([\d.]+)\*\(pred-target\)\^2\+([\d.e-]+)", case.meta["unc_var"])
    variance = np.float32(factor) * (estimate - truth) ** 2 + np.float32(floor)
    colours = [RED, GREEN, BLUE]
    glf = published.glfcr(estimate, truth, some_columns)
    unc = published.uncrtaints(estimate, truth, variance)
    three = published.crsystem(estimate[colours], truth[colours])
    found = {
        "glf_psnr": glf["psnr"], "glf_psnr_masked": glf["psnr_masked"], "glf_ssim_win11_offcentre": glf["ssim"],
        "unc_RMSE": unc["RMSE"], "unc_MAE": unc["MAE"], "unc_PSNR": unc["PSNR"], "unc_SAM_deg": unc["SAM"],
        "unc_SSIM_win11": unc["SSIM"], "unc_error": unc["error"], "unc_mean_ae": unc["mean ae"],
        "unc_mean_se": unc["mean se"], "unc_mean_var": unc["mean var"], "crsys_ssim_win5_rgb": three["ssim"],
        "crsys_psnr_rgb_skimage": three["psnr"], "crsys_l1_rgb": three["l1"],
    }  # fmt: skip
    if cloudy is not None:
        mask = np.any(clouds_and_shadows(cloudy), axis=0)
        batch = [5 * part[None].astype(np.float64) for part in (estimate, truth, cloudy)]
        keras = published.dsen2cr(*batch, mask[None].astype(np.float64))
        found |= {f"keras_{name}": value for name, value in keras.items()}
    compare_values(case, found, case.meta["values"])


def run_dsen2cr_metrics(case: Case) -> None:
    x = images(case, "x")
    estimate, cloudy = x["y_pred27"][:, :13], x["y_pred27"][:, 13:26]
    truth, mask = x["y_true14"][:, :13], x["y_true14"][:, 13]
    compare_values(case, published.dsen2cr(estimate, truth, cloudy, mask), case.meta["values"])
    gradient = published.carl_gradient(estimate, truth, cloudy, mask)
    np.testing.assert_allclose(gradient, images(case, "y")["carl_grad_pred"], rtol=1e-5, atol=1e-9)


def run_seq2point_metrics(case: Case) -> None:
    x = images(case, "x")
    covered = np.any([x[name][0, 0] > 0 for name in x if name.startswith("mask")], axis=0)
    found = published.sen12mscrts(x["fake"][0], x["real"][0], covered)
    compare_values(case, found, case.meta["expected"])


def run_utilise_metrics(case: Case) -> None:
    x = images(case, "x")
    valid = x["masks_valid_obs"].astype(bool)
    settings = {
        "eval_b1": (slice(0, 1), True, {"degrees": True, "split": True}),
        "train_b2": (slice(None), True, {"degrees": False, "split": False}),
        "nomask_b2": (slice(None), False, {"degrees": False, "split": False}),
    }
    for name, (samples, masked, options) in settings.items():
        frames = valid[samples]
        cloudy = x["cloud_mask"][samples][frames][:, 0] > 0 if masked else None
        occluded = x["masks"][samples][frames][:, 0] > 0
        found = published.utilise(x["pred"][samples][frames], x["y"][samples][frames], occluded, cloudy, **options)
        expected = {k.split(".", 1)[1]: v for k, v in images(case, "y").items() if k.startswith(name + ".")}
        assert expected
        compare_values(case, found, expected)


def run_calibration(case: Case) -> None:
    x = images(case, "x")
    expected = images(case, "y")
    bins = len(expected["ece_sorted_se"])
    found: dict[str, object] = {}
    for name, absolute in (("l2", False), ("l1", True)):
        found[f"uce_{name}"], found[f"auce_{name}"] = calibration.uce_auce(x["var"], x["err"], bins, absolute)
    found["ece_sorted_se"] = calibration.discard_curve(x["var"], x["se"], 100 // bins)
    compare_values(case, found, expected)


def run_ensemble(case: Case) -> None:
    x = images(case, "x")
    names = ("mean", "var_aleatoric", "var_epistemic", "var_both")
    found = dict(zip(names, calibration.total_variance(x["mean"], x["var"]), strict=True))
    compare_values(case, found, images(case, "y"))


def run_previews(case: Case) -> None:
    sample, whole = case.meta["sample"], [0, 0, 256, 256]
    colours = [RED, GREEN, BLUE]
    cloudy, clear = (np.clip(real_patch(kind, sample, whole), 0, 1) for kind in ("s2_cloudy", "s2_cloudfree"))
    target = previews.rgb(clear[colours])
    found = {
        "cloudy_norm_preview": previews.rgb(cloudy[colours]),
        "cloudy_raw_preview": previews.rgb(10_000 * cloudy[colours]),
        "cloudfree_norm_preview": target,
        "sar_composite": previews.sar(real_patch("s1", sample, whole)),
        "mask_overlay": previews.overlay(target, clouds_and_shadows(cloudy)[0].astype(np.float32)),
    }
    tolerance = case.meta["tolerance"]
    for name, expected in images(case, "y").items():
        atol = tolerance["uint8_max_abs"] if expected.dtype == np.uint8 else tolerance["atol"]
        got = found[name][::2, ::2].astype(np.float64)
        np.testing.assert_allclose(got, expected.astype(np.float64), rtol=0, atol=atol, err_msg=name)
