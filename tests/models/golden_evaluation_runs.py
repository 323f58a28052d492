"""How the golden cases of measures, calibration and previews are run."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from cloud_removal_plugin.bands import SENTINEL2_L1C
from cloud_removal_plugin.clouds import score
from cloud_removal_plugin.evaluation import calibration, previews, published
from tests.models.golden_files import Case, compare, thinned, tolerance_for
from tests.models.golden_inputs import WHOLE, WINDOW, numbers, real_patch

RED, GREEN, BLUE = 3, 2, 1


def compare_values(case: Case, found: Mapping[str, float], expected: Mapping[str, float | None]) -> None:
    """Every expected number must be among the found ones and within the case's tolerance; null is NaN."""
    assert expected, "nothing to compare with"
    for name, value in expected.items():
        rtol, atol = tolerance_for(case.meta, name)
        wanted = np.nan if value is None else value
        np.testing.assert_allclose(found[name], wanted, rtol=rtol, atol=atol, err_msg=name)


def images(case: Case, prefix: str) -> dict[str, np.ndarray]:
    """Tensors of a case as arrays."""
    return {name: value.numpy() for name, value in case.tensors(prefix).items()}


def clouds_and_shadows(reflectance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the detector of DSen2-CR finds in (13, H, W): bool (H, W) clouds, and shadows."""
    planes = score.prepare(reflectance, SENTINEL2_L1C, score.DSEN2CR)
    return score.cloud_score(planes, score.DSEN2CR) >= score.THRESHOLD, score.shadow_mask(planes)


def _metrics_inputs(case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Estimate, truth and (on real patches) the cloudy input, all reflectance; the last is not clipped."""
    x, meta = images(case, "x"), case.meta
    if "pred" in x:
        return x["pred"], x["target"], x.get("cloudy")
    assert meta.get("target", "cloudfree") == "cloudfree", "the truth is the clear patch"
    window = meta.get(WINDOW, WHOLE)
    clear, cloudy = (real_patch(kind, meta["sample"], window) for kind in ("s2_cloudfree", "s2_cloudy"))
    truth, hidden = np.clip(clear, 0, 1), np.clip(cloudy, 0, 1)
    of_truth, of_hidden = numbers(r"#\*cloudfree\s*\+\s*#\*cloudy", meta["pred"])
    return np.float32(of_truth) * truth + np.float32(of_hidden) * hidden, truth, cloudy


def _some_pixels(case: Case, shape: tuple[int, ...]) -> np.ndarray:
    """The mask of a masked measure, e.g. "columns with index%3==0"."""
    said, mask = case.meta["mask_for_glf_psnr_masked"], np.zeros(shape)
    step, start = (int(part) for part in numbers(r"index\s*%\s*#\s*==\s*#", said))
    chosen = slice(start, None, step)
    mask[(chosen, slice(None)) if "row" in said else (slice(None), chosen)] = 1
    return mask


def run_metrics(case: Case) -> None:
    estimate, truth, cloudy = _metrics_inputs(case)
    x, meta = images(case, "x"), case.meta
    has_mask, has_variance = "mask_for_glf_psnr_masked" in meta, "unc_var" in meta
    some_pixels = _some_pixels(case, truth.shape[1:]) if has_mask else x.get("mask")
    variance = x.get("var")
    if has_variance:
        factor, floor = numbers(r"#\*\(pred-target\)\^2\s*\+\s*#", meta["unc_var"])
        variance = np.float32(factor) * (estimate - truth) ** 2 + np.float32(floor)
    colours = [RED, GREEN, BLUE]
    glf = published.glfcr(estimate, truth, some_pixels)
    unc = published.uncrtaints(estimate, truth, variance)
    three = published.crsystem(estimate[colours], truth[colours])
    found = {
        "glf_psnr": glf["psnr"], "glf_psnr_masked": glf.get("psnr_masked"), "glf_ssim_win11_offcentre": glf["ssim"],
        "unc_RMSE": unc["RMSE"], "unc_MAE": unc["MAE"], "unc_PSNR": unc["PSNR"], "unc_SAM_deg": unc["SAM"],
        "unc_SSIM_win11": unc["SSIM"], "unc_error": unc.get("error"), "unc_mean_ae": unc.get("mean ae"),
        "unc_mean_se": unc.get("mean se"), "unc_mean_var": unc.get("mean var"), "crsys_ssim_win5_rgb": three["ssim"],
        "crsys_psnr_rgb_skimage": three["psnr"], "crsys_l1_rgb": three["l1"],
    }  # fmt: skip
    if cloudy is not None:
        mask = np.any(clouds_and_shadows(cloudy), axis=0)
        batch = [5 * part[None].astype(np.float64) for part in (estimate, truth, np.clip(cloudy, 0, 1))]
        keras = published.dsen2cr(*batch, mask[None].astype(np.float64))
        found |= {f"keras_{name}": value for name, value in keras.items()}
    # By name in the json, and as a row of numbers in the order that it names.
    row = images(case, "y").get("values", np.zeros(0))
    in_row = dict(zip(meta["values_order"], row.tolist(), strict=True)) if row.size else {}
    assert in_row or meta.get("values"), "nothing to compare with"
    for expected in filter(None, (meta.get("values"), in_row)):
        compare_values(case, found, expected)


def run_dsen2cr_metrics(case: Case) -> None:
    x, expected = images(case, "x"), case.tensors("y")
    given, wanted = (next(x[name] for name in x if name.startswith(start)) for start in ("y_pred", "y_true"))
    estimate, cloudy = given[:, :13], given[:, 13:26]
    truth, mask = wanted[:, :13], wanted[:, 13]
    values = published.dsen2cr(estimate, truth, cloudy, mask)
    compare_values(case, values, case.meta["values"])
    found = {"carl_grad_pred": published.carl_gradient(estimate, truth, cloudy, mask)}
    if "values" in expected:
        found["values"] = np.array([values[name] for name in case.meta["values_order"]])
    compare(case, found)


def run_seq2point_metrics(case: Case) -> None:
    x = images(case, "x")
    covered = np.any([x[name] > 0 for name in x if name.startswith("mask")], axis=0)
    found = published.sen12mscrts(x["fake"], x["real"], covered)
    compare_values(case, found, case.meta["expected"])


def run_utilise_metrics(case: Case) -> None:
    """Settings such as ``eval_b1``: the trainer's or the evaluation's measures of the first samples of the batch."""
    x, y = images(case, "x"), images(case, "y")
    valid = x["masks_valid_obs"].astype(bool)
    for setting in sorted({name.split(".", 1)[0] for name in y}):
        kind, _, count = setting.partition("_b")
        samples, is_evaluation = slice(0, int(count or len(valid))), kind.startswith("eval")
        frames = valid[samples]
        hides = not kind.startswith("nomask") and "cloud_mask" in x
        cloudy = x["cloud_mask"][samples][frames][:, 0] > 0 if hides else None
        found = published.utilise(
            x["pred"][samples][frames], x["y"][samples][frames], x["masks"][samples][frames][:, 0] > 0, cloudy,
            degrees=is_evaluation, split=is_evaluation,
        )  # fmt: skip
        expected = {name.split(".", 1)[1]: value for name, value in y.items() if name.startswith(setting + ".")}
        compare_values(case, found, expected)


def run_calibration(case: Case) -> None:
    x = images(case, "x")
    expected = images(case, "y")
    said = case.says("what", "note")
    bins = 100 // int(numbers(r"percent=#", said)[0]) if "percent=" in said else 20
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
    sample, window = case.meta["sample"], case.meta.get(WINDOW, WHOLE)
    radar, cloudy, clear = (real_patch(kind, sample, window) for kind in ("s1", "s2_cloudy", "s2_cloudfree"))
    found = {"sar_composite": previews.sar(radar)}
    colours = [RED, GREEN, BLUE]
    for name, patch in (("cloudy", cloudy), ("cloudfree", clear)):
        found[f"{name}_norm_preview"] = previews.rgb(np.clip(patch[colours], 0, 1))
        found[f"{name}_raw_preview"] = previews.rgb(10_000 * patch[colours])
    clouds = clouds_and_shadows(cloudy)[0].astype(np.float32)
    found["mask_overlay"] = previews.overlay(found["cloudfree_norm_preview"], clouds)
    tolerance, goldens = case.meta["tolerance"], images(case, "y")
    assert goldens, "nothing to compare with"
    for name, expected in goldens.items():
        atol = tolerance["uint8_max_abs"] if expected.dtype == np.uint8 else tolerance["atol"]
        # Rows and columns lie first here; every so many of them are kept.
        got = thinned(case, torch.from_numpy(found[name]).permute(2, 0, 1), torch.Size(expected.shape[:2]))
        got = got.permute(1, 2, 0).double().numpy()
        np.testing.assert_allclose(got, expected.astype(np.float64), rtol=0, atol=atol, err_msg=name)
