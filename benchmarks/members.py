"""What each member of the scene ensemble is worth alone, its membrane included, and the best of them for every pixel.

    python -m benchmarks.members [--sets LZ CA] [--cases 4] [--method auto] [--masks 1] [--half]

``--masks 1 --half`` are the cases on which choices were made: other masks, every second target. The figures of
``benchmarks.accuracy`` come from masks 0 and all targets.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from benchmarks import cases as case_sets
from benchmarks.cases import Case
from benchmarks.scores import score


def measure(case: Case, method: str) -> dict[str, float]:
    """PSNR of linear interpolation, the stack, every member and the oracle; coverage and UCE of the stack."""
    from cloud_removal_plugin.methods.ensemble import FittedEnsemble, SceneEnsemble

    fitted = SceneEnsemble(method).fit([case.observation], seed=(0, 0, 0))
    result = fitted.restore(case.observation)
    found = score(case, result.reflectance, result.sigma, fitted.expected_rmse)
    out = {"linear": case_sets.psnr(case_sets.linear(case.observation), case), "stack": found.psnr,
           "coverage": found.coverage, "uce": found.uce}  # fmt: skip
    if not isinstance(fitted, FittedEnsemble):
        return out
    errors = []
    for index, name in enumerate(fitted.names):
        weights = np.zeros_like(fitted.weights)
        weights[index] = 1
        alone = replace(fitted, weights=weights, sigma=None).restore(case.observation).reflectance
        out[name] = case_sets.psnr(alone, case)
        errors.append(np.square(alone[:, case.gap] - case.truth[:, case.gap], dtype=np.float64).mean(axis=0))
    out["oracle"] = float(-10 * np.log10(np.min(errors, axis=0).mean()))
    return out


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a row a set; returns 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = [*case_sets.SETTINGS, *case_sets.EXTRA]
    parser.add_argument("--sets", nargs="*", default=list(case_sets.SETTINGS), choices=known)
    parser.add_argument("--cases", type=int, default=99, help="at most this many cases a set")
    parser.add_argument("--method", default="auto")
    parser.add_argument("--masks", type=int, default=0, help="seed of the cases' masks")
    parser.add_argument("--half", action="store_true", help="every second case only")
    options = parser.parse_args(argv)
    for name, items in case_sets.load(names=options.sets, seed=options.masks).items():
        rows = [measure(case, options.method) for case in items[options.half :: 1 + options.half][: options.cases]]
        keys = list(dict.fromkeys(key for row in rows for key in row))
        gain = np.array([row["stack"] - row["linear"] for row in rows])
        means = {key: np.mean([row[key] for row in rows if key in row]) for key in keys}
        text = " | ".join(
            f"{key} {value:.4f}" if key == "uce" else f"{key} {value:.2f}" for key, value in means.items()
        )
        print(
            f"| {name} | {len(rows)} cases | gain {gain.mean():+.2f}, lowest {gain.min():+.2f} | {text} |", flush=True
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
