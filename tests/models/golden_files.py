"""Golden cases on disk: finding them, what they hold, and the comparison."""

from __future__ import annotations

import fnmatch
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
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
    """Where real patches may lie: CLOUD_REMOVAL_DATA, the shared folder, and ``data`` beside or above the goldens."""
    named = os.environ.get("CLOUD_REMOVAL_DATA", "")
    near = [above / "data" for goldens in golden_folders() for above in (goldens, *goldens.resolve().parents[:2])]
    wanted = dict.fromkeys((*([Path(named)] if named else []), SHARED_DATA, *near))
    return [folder for folder in wanted if folder.is_dir()]


def only_known(said: Iterable[str], known: Iterable[str], where: str) -> None:
    """Fails where a json says something that its runner does not apply."""
    strange = sorted(set(said) - set(known))
    assert not strange, f"nothing applies what {where} says of {', '.join(strange)}"


@dataclass(frozen=True)
class Case:
    """One golden case: its json and, where there is one, its tensors."""

    path: Path
    compared: set[str] = field(default_factory=set, compare=False, repr=False)
    """Kinds of expected tensors that a runner has compared: ``y``, ``g``."""

    @property
    def name(self) -> str:
        return self.path.stem

    @cached_property
    def meta(self) -> dict[str, Any]:
        """The json; what a case ``of`` another one leaves out is said there, as is the network of ``weights_from``."""
        own = json.loads(self.path.read_text())
        if "weights_from" in own and "config" not in own:
            own["config"] = self.sibling(own["weights_from"]).meta.get("config", {})
        return {**self.sibling(own["of"]).meta, **own} if "of" in own else own

    @property
    def stored(self) -> dict[str, Tensor]:
        """Everything in the case's own file of tensors, read anew: runners may change what they are given."""
        file = self.path.with_suffix(".safetensors")
        return load_file(file) if file.exists() else {}

    def tensors(self, prefix: str) -> dict[str, Tensor]:
        """Tensors whose name starts with ``prefix`` + '.', without it; inputs and weights also of the case it is of."""
        found = {k[len(prefix) + 1 :]: v for k, v in self.stored.items() if k.startswith(prefix + ".")}
        if not found and prefix in ("x", "w") and "of" in self.meta:
            return self.sibling(self.meta["of"]).tensors(prefix)
        return found

    def says(self, *fields: str) -> str:
        """What the json says in words in these fields, as one line."""
        return " ".join(str(self.meta[field]) for field in fields if self.meta.get(field))

    def sibling(self, name: str) -> Case:
        """Another case: of the same folder, else of any other (cases may lie apart from what they refer to)."""
        for folder in (self.path.parent, *golden_folders(), SHARED_GOLDENS):
            if found := next(iter(sorted(folder.rglob(f"{name}.json"))), None):
                return Case(found)
        raise FileNotFoundError(f"{self.name} refers to the case {name}, which is in no folder of goldens")


def all_cases() -> list[Case]:
    """Every case of every folder and of the folders in it, by name; lists of checkpoint entries are none."""
    found = [path for folder in golden_folders() for path in sorted(folder.rglob("*.json"))]
    return [Case(path) for path in found if not path.name.endswith(".keys.json")]


def said_of(meta: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """What a json's tolerance says of one output: by its name, the longest pattern or prefix, or of all."""
    tolerance = meta.get("tolerance", {})
    if isinstance(tolerance.get("atol", tolerance.get("rtol")), (int, float)):
        return tolerance
    named = {key: value for key, value in tolerance.items() if isinstance(value, Mapping)}
    patterns = [key for key in named if fnmatch.fnmatch(name, key) or name.startswith(key)]
    if patterns:
        return named[max(patterns, key=lambda key: (key == name, len(key)))]
    return {"rtol": NO_RTOL, "atol": max((value.get("atol", 0.0) for value in named.values()), default=UNSAID_ATOL)}


def tolerance_for(meta: Mapping[str, Any], name: str) -> tuple[float, float]:
    """(rtol, atol) of one output."""
    said = said_of(meta, name)
    return said.get("rtol", 0.0), said.get("atol", 0.0)


def _step(case: Case, full: int, kept: int) -> int:
    """Every how many pixels a golden of ``kept`` pixels keeps of ``full``."""
    # By its own field, by the name, by what the json says ("[..., ::4, ::4]"), else by the sizes.
    said = re.findall(r"_sub(\d+)", case.name) + re.findall(r"::\s*(\d+)", case.says("what", "note", "notes"))
    guesses = [case.meta.get("sub_sampling", 1), *(int(step) for step in said if int(step)), -(-full // kept)]
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
        key = name if name in outputs else re.sub(r"_sub\d*$", "", name)
        assert key in outputs, f"nothing computes {name}; there are {', '.join(outputs)}"
        got = thinned(case, torch.as_tensor(outputs[key]).detach(), expected.shape)
        assert got.numel() == expected.numel(), f"{name}: {tuple(got.shape)} instead of {tuple(expected.shape)}"
        # Masks and numbers of frames as fractions, so that half a frame is none.
        dtype = expected.dtype if expected.is_floating_point() else torch.float64
        close(case.meta, name, got.reshape(expected.shape).to(dtype), expected.to(dtype))
    case.compared.add("y")


def close(meta: Mapping[str, Any], name: str, got: Tensor, expected: Tensor) -> None:
    """Two tensors of one shape and dtype within a json's tolerance; it may allow a share of them to lie farther off."""
    said = said_of(meta, name)
    if share := said.get("allow_fraction_outside", 0.0):
        mostly_close(name, got, expected, said["atol"], share, said.get("outside_atol", said["atol"]))
        return
    torch.testing.assert_close(
        got,
        expected,
        rtol=said.get("rtol", 0.0),
        atol=said.get("atol", 0.0),
        equal_nan=True,
        msg=lambda text: f"{name}: {text}",
    )


def mostly_close(name: str, got: Tensor, expected: Tensor, atol: float, share: float, outside: float) -> None:
    """Adam flips the sign of steps whose gradient is noise: a share of entries may be off by ``outside``."""
    distance = (got.double() - expected.double()).abs()
    assert float(distance.max()) <= outside, f"{name}: off by {float(distance.max()):.3g}"
    assert int((distance > atol).sum()) <= max(1, share * distance.numel()), f"{name}: too many entries are off"


def compare_gradients(case: Case, network: nn.Module) -> None:
    """Every ``g.`` tensor of the case against the gradients that the network holds.

    A gradient that is zero in exact arithmetic (what shifts all dates alike before a softmax over dates) holds nothing
    but rounding; it may be off by a few roundings of the largest gradient of the network.
    """
    tolerance = case.meta.get("tolerance", {})
    rtol = tolerance.get("grad_rtol", 1e-3)
    slack = tolerance.get("grad_atol_rel_to_max_abs_grad_of_tensor", 1e-4)
    parameters = dict(network.named_parameters())
    expected = case.tensors("g")
    assert expected
    rounding = 16 * max(torch.finfo(value.dtype).eps * float(value.abs().max()) for value in expected.values())
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
    case.compared.add("g")
