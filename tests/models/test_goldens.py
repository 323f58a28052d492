"""The published networks against numbers that the original code produced: one test for each golden case.

The cases lie in the folder(s) of CLOUD_REMOVAL_GOLDENS. A case that nothing here knows how to run fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

pytest.importorskip("torch", reason="the networks need PyTorch")
pytest.importorskip("safetensors", reason="golden cases are safetensors files")

from tests.models import golden_detector_runs as detectors
from tests.models import golden_evaluation_runs as evaluation
from tests.models import golden_gap_runs as gaps
from tests.models import golden_runs as runs
from tests.models import golden_series_runs as series
from tests.models import golden_training_runs as training
from tests.models.golden_files import Case, all_cases, golden_folders

RUNNERS: dict[str, Callable[[Case], None]] = {
    "kernelconv2d_": runs.run_kernelconv,
    "dsen2cr_": runs.run_dsen2cr,
    "glfcr_": runs.run_glfcr,
    "uncrtaints_": runs.run_uncrtaints,
    "tuacr_": runs.run_tuacr,
    "tuacr_pipeline": runs.run_tuacr_pipeline,
    "preproc_norm_": runs.run_scaling,
    "preproc_mask_": detectors.run_score,
    "detector_s2cloudless": detectors.run_s2cloudless,
    "detector_qa_tables": detectors.run_qa_tables,
    "seq2point_preproc": runs.run_seq2point_scaling,
    "utilise_": series.run_utilise,
    "utilise_positional_encoder": series.run_positions,
    "utilise_sliding_window": series.run_sliding_window,
    "utilise_interpolators": gaps.run_interpolators,
    "utilise_impaired_frames": gaps.run_impaired_frames,
    "utilise_mask_filling": gaps.run_mask_filling,
    "utilise_window_moves": gaps.run_window_moves,
    "seq2point_": series.run_seq2point,
    "seq2point_baseline": series.run_baseline_resnet,
    "seq2point_discriminator": series.run_discriminator,
    "aligncr_": series.run_aligncr,
    "clearvision_mask": series.run_clearvision_mask,
    "clearvision_full_mask": series.run_clearvision_mask,
    "clearvision_removal": series.run_clearvision_removal,
    "clearvision_full_removal": series.run_clearvision_removal,
    "metrics_": evaluation.run_metrics,
    "dsen2cr_metrics": evaluation.run_dsen2cr_metrics,
    "seq2point_metrics": evaluation.run_seq2point_metrics,
    "utilise_metrics": evaluation.run_utilise_metrics,
    "uncrtaints_calibration": evaluation.run_calibration,
    "uncrtaints_ensemble": evaluation.run_ensemble,
    "crsystem_preview": evaluation.run_previews,
    "uncrtaints_loss": training.run_uncrtaints_loss,
    "tuacr_losses": training.run_tuacr_losses,
    "utilise_losses": training.run_series_losses,
    "seq2point_perceptual": training.run_perceptual,
    "dsen2cr_nadam": training.run_nadam,
    "clearvision_train": training.run_clearvision_step,
    "seq2point_train": training.run_seq2point_steps,
    "utilise_train": training.run_utilise_steps,
    "aligncr_loader": training.run_m3rcr_loader,
    "seq2point_sampling": training.run_date_choices,
    "utilise_collate": training.run_collate,
}
"""Prefix of a case's name to what runs it; the longest prefix that fits counts."""

SLOW = ("dsen2cr_full_256", "glfcr_full_256", "seq2point_full_t3")


def _within(name: str, prefix: str) -> bool:
    """Whether a name has a family's prefix behind some mark of its own, as in ``other_glfcr_tiny``."""
    return re.search(rf"(?<![a-z0-9]){re.escape(prefix)}", name) is not None


def _prefix(case: Case) -> str:
    """By the file's name; where that says nothing, by the names in its json; a word before the family's counts not."""
    meta = case.meta
    names = (case.name, str(meta.get("name", "")), f"{meta.get('model', '')}_{meta.get('case', '')}")
    ways = (*((str.startswith, name) for name in names), *((_within, name) for name in names))
    fitting = ([prefix for prefix in RUNNERS if fits(name, prefix)] for fits, name in ways)
    return max(next((found for found in fitting if found), []), key=len, default="")


def _parameter(case: Case) -> object:
    marks = []
    if any(part in case.name for part in SLOW):
        marks.append(pytest.mark.slow)
    return pytest.param(case, id=case.name, marks=marks)


if golden_folders():
    CASES = [_parameter(case) for case in all_cases()]
else:
    CASES = [pytest.param(None, id="all", marks=pytest.mark.skip(reason="no folder of golden cases is there"))]


@pytest.mark.parametrize("case", CASES)
def test_golden(case: Case) -> None:
    runner = _prefix(case)
    if not runner:
        pytest.fail(f"nothing knows how to run the golden case {case.name}")
    RUNNERS[runner](case)
    if case.tensors("g") and "g" not in case.compared:
        pytest.fail(f"nothing compared the gradients of the golden case {case.name}")
