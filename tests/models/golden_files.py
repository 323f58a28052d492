"""Golden cases on disk: finding them, what they hold, and the comparison."""

from __future__ import annotations

import fnmatch
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[2]
SHARED_GOLDENS = ROOT.parent / "shared/reference/goldens"
SHARED_DATA = ROOT.parent / "shared/data"
NO_RTOL, UNSAID_ATOL = 1e-4, 2e-6
"""The READMEs' general tolerance, for outputs of which a json says nothing."""


def golden_folders() -> list[Path]:
    """The folders named by CLOUD_REMOVAL_GOLDENS (separated by ':'), or the shared one where it is there.

    Raises:
        FileNotFoundError: a named folder does not exist; silence would look like success.
    """
    named = [part for part in os.environ.get("CLOUD_REMOVAL_GOLDENS", "").split(":") if part]
    if not named:
        return [SHARED_GOLDENS] if SHARED_GOLDENS.is_dir() else []
    folders = [Path(part).expanduser() for part in named]
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"CLOUD_REMOVAL_GOLDENS names {folder}, which is no folder")
    return folders


def data_folders() -> list[Path]:
    """Where real patches may lie: CLOUD_REMOVAL_DATA before the shared folder."""
    named = os.environ.get("CLOUD_REMOVAL_DATA", "")
    return [folder for folder in (*([Path(named)] if named else []), SHARED_DATA) if folder.is_dir()]


@dataclass(frozen=True)
class Case:
    """One golden case: its json and, where there is one, its tensors."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.stem

    @cached_property
    def meta(self) -> dict[str, Any]:
        """The json; what a case ``of`` another one leaves out is said there."""
        own = json.loads(self.path.read_text())
        return {**self.sibling(own["of"]).meta, **own} if "of" in own else own

    def tensors(self, prefix: str) -> dict[str, Tensor]:
        """Tensors whose name starts with ``prefix`` + '.', without it; inputs and weights also of the case it is of."""
        file = self.path.with_suffix(".safetensors")
        stored = load_file(file) if file.exists() else {}
        found = {k[len(prefix) + 1 :]: v for k, v in stored.items() if k.startswith(prefix + ".")}
        if not found and prefix in ("x", "w") and "of" in self.meta:
            return self.sibling(self.meta["of"]).tensors(prefix)
        return found

    def says(self, *fields: str) -> str:
        """What the json says in words in these fields, as one line."""
        return " ".join(str(self.meta[field]) for field in fields if self.meta.get(field))

    def sibling(self, name: str) -> Case:
        """Another case: of the same folder, else of any other (cases may lie apart from what they refer to)."""
        for folder in (self.path.parent, *golden_folders(), SHARED_GOLDENS):
            if (folder / f"{name}.json").exists():
                return Case(folder / f"{name}.json")
        raise FileNotFoundError(f"{self.name} refers to the case {name}, which is in no folder of goldens")


def all_cases() -> list[Case]:
    """Every case of every folder and of the folders in it, by name; lists of checkpoint entries are none."""
    found = [path for folder in golden_folders() for path in sorted(folder.rglob("*.json"))]
    return [Case(path) for path in found if not path.name.endswith(".keys.json")]


def tolerance_for(meta: Mapping[str, Any], name: str) -> tuple[float, float]:
    """(rtol, atol) of one output: named exactly, by the longest pattern or prefix that fits, else that of all."""
    tolerance = meta.get("tolerance", {})
    if isinstance(tolerance.get("atol", tolerance.get("rtol")), (int, float)):
        return tolerance.get("rtol", 0.0), tolerance.get("atol", 0.0)
    named = {key: value for key, value in tolerance.items() if isinstance(value, Mapping)}
    patterns = [key for key in named if fnmatch.fnmatch(name, key) or name.startswith(key)]
    if patterns:
        best = named[max(patterns, key=lambda key: (key == name, len(key)))]
        return best.get("rtol", 0.0), best.get("atol", 0.0)
    return NO_RTOL, max((value.get("atol", 0.0) for value in named.values()), default=UNSAID_ATOL)


def _step(case: Case, full: int, kept: int) -> int:
    """Every how many pixels a golden of ``kept`` pixels keeps of ``full``."""
    named = re.search(r"_sub(\d+)", case.name)
    guesses = [case.meta.get("sub_sampling", 1), int(named[1]) if named else 1, -(-full // kept)]
    return next((step for step in guesses if -(-full // step) == kept), 1)


def thinned(case: Case, full: Tensor, expected: torch.Size) -> Tensor:
    """``full`` (..., H, W) at the pixels that the golden holds (README: ``[..., ::n, ::n]``)."""
    if full.dim() < 2 or len(expected) < 2 or full.shape[-2:] == expected[-2:]:
        return full
    if any(have < want for have, want in zip(full.shape[-2:], expected[-2:], strict=True)):
        return full
    rows, cols = (_step(case, have, want) for have, want in zip(full.shape[-2:], expected[-2:], strict=True))
    return full[..., ::rows, ::cols]


def compare(case: Case, outputs: Mapping[str, Any], ignore: tuple[str, ...] = ()) -> None:
    """Every ``y.`` tensor of the case must be among ``outputs`` and within the case's tolerance."""
    goldens = case.tensors("y")
    assert goldens or case.tensors("g"), f"{case.name} holds nothing to compare with"
    for name, expected in goldens.items():
        if name in ignore:
            continue
        key = name if name in outputs else name.removesuffix("_sub")
        assert key in outputs, f"nothing computes {name}; there are {', '.join(outputs)}"
        rtol, atol = tolerance_for(case.meta, name)
        got = thinned(case, torch.as_tensor(outputs[key]).detach(), expected.shape)
        assert got.numel() == expected.numel(), f"{name}: {tuple(got.shape)} instead of {tuple(expected.shape)}"
        # Masks of whatever integer type as one that every operation knows.
        dtype = expected.dtype if expected.is_floating_point() else torch.int64
        torch.testing.assert_close(
            got.reshape(expected.shape).to(dtype),
            expected.to(dtype),
            rtol=rtol,
            atol=atol,
            equal_nan=True,
            msg=lambda text, name=name: f"{name}: {text}",
        )


def compare_gradients(case: Case, network: nn.Module) -> None:
    """Every ``g.`` tensor of the case against the gradients that the network holds.

    A gradient that is zero in exact arithmetic (what shifts all dates alike before a softmax over dates) holds nothing
    but rounding; it may be off by a few of float32's roundings of the largest gradient of the network.
    """
    tolerance = case.meta.get("tolerance", {})
    rtol = tolerance.get("grad_rtol", 1e-3)
    slack = tolerance.get("grad_atol_rel_to_max_abs_grad_of_tensor", 1e-4)
    parameters = dict(network.named_parameters())
    expected = case.tensors("g")
    assert expected
    rounding = 16 * torch.finfo(torch.float32).eps * max(float(value.abs().max()) for value in expected.values())
    for name, value in expected.items():
        if name in case.meta.get("grad_ignore", ()):
            continue
        grad = parameters[name].grad
        grad = torch.zeros_like(value) if grad is None else grad
        torch.testing.assert_close(
            grad.to(value.dtype),
            value,
            rtol=rtol,
            atol=max(slack * float(value.abs().max()), rounding),
            msg=lambda text, name=name: f"gradient of {name}: {text}",
        )
