"""Holds the floors of docs/architecture.md by reading the imports."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "cloud_removal_plugin"

FLOOR = {
    "__init__": 4, "plugin": 4, "provider": 4, "algorithms": 4, "gui": 4,
    "__main__": 5,  # the command line stands on the engine, without QGIS
    "engine": 3,
    "training": 2.5,  # the engine runs it as a job
    "methods": 2, "clouds": 2,
    "evaluation": 2,  # arrays and numbers in, figures and pages out; the engine reads the rasters
    "datasets": 2.2,  # cloud cover comes from the detectors of floor 2
    "models": 1, "ext": 1, "raster": 1,
    "observation": 0, "bands": 0, "errors": 0, "webpage": 0,
    "weights": 0.5,  # knows the errors; standard library alone, so that QGIS may read it
}  # fmt: skip
LOWER_NEIGHBOURS = {("models", "ext")}  # on one floor, but the first stands on the second
DOORS_OF_FLOOR_4 = {"engine.job", "engine.launch"}
QGIS = {"qgis", "osgeo", "processing", "PyQt5", "PyQt6", "sip"}
THIRD_PARTY = {"numpy", "scipy", "torch", "rasterio", "lightgbm", "safetensors", "threadpoolctl", "affine"}
OPTIONAL = {"torchvision", "h5py", "matplotlib", "jinja2", "PIL", "tomli", "tomllib"}
TORCH_ROOMS = ("models", "ext", "datasets", "training")
LOADED_BY_QGIS = ("__init__.py", "plugin.py", "provider.py", "engine/job.py", "engine/launch.py", "engine/child.py",
                  "engine/interpreter.py", "raster/parts.py", "errors.py")  # fmt: skip

SOURCES = sorted(PACKAGE.rglob("*.py"))


@dataclass(frozen=True)
class Import:
    """One import statement: absolute dotted name, line, and whether QGIS or Python meets it while the module loads."""

    name: str
    line: int
    at_load: bool

    @property
    def top(self) -> str:
        return self.name.split(".")[0]

    @property
    def inside(self) -> str:
        """Dotted name inside the package, or ''."""
        return self.name.partition(".")[2] if self.top == PACKAGE.name else ""


def _resolve(path: Path, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    folder = path.relative_to(ROOT).parent.parts
    base = folder[: len(folder) - (node.level - 1)]
    return ".".join((*base, *(node.module or "").split("."))).rstrip(".")


def _walk(path: Path, node: ast.AST, at_load: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, at_load) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            module = _resolve(path, child)
            package = (ROOT / Path(*module.split("."))).is_dir() and module.startswith(PACKAGE.name)
            names = [f"{module}.{alias.name}" for alias in child.names] if package else [module]
            yield from (Import(name, child.lineno, at_load) for name in names)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            yield from _walk(path, child, False)
        else:
            inner = at_load and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _walk(path, child, inner)


def imports(path: Path) -> list[Import]:
    return list(_walk(path, ast.parse(path.read_text(encoding="utf-8")), True))


def room(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def _name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def test_every_room_has_a_floor() -> None:
    assert {room(path) for path in SOURCES} <= set(FLOOR)


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_a_room_imports_from_below_only(path: Path) -> None:
    own, floor = room(path), FLOOR[room(path)]
    for found in imports(path):
        if not found.inside:
            continue
        other = found.inside.split(".")[0]
        if floor == 4 and 1 <= FLOOR.get(other, 4) <= 3:
            assert any(found.inside == door or found.inside.startswith(door + ".") for door in DOORS_OF_FLOOR_4), (
                f"{path}:{found.line} reaches past the engine's door to {found.name}"
            )
        elif other != own and floor != 4 and (own, other) not in LOWER_NEIGHBOURS:
            assert FLOOR.get(other, 9) < floor, f"{path}:{found.line} imports {found.name} from its own floor or above"


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_libraries_stay_where_they_belong(path: Path) -> None:
    own, floor = room(path), FLOOR[room(path)]
    for found in imports(path):
        where = f"{path}:{found.line} imports {found.name}"
        if found.top in QGIS:
            assert floor == 4, f"{where}: only floor 4 may"
        elif found.top == "rasterio":
            assert own in ("raster", "engine", "datasets"), f"{where}: rasterio lives in raster/"
        elif found.top == "torch":
            assert floor < 4, f"{where}: torch never meets QGIS"
            assert not found.at_load or own in TORCH_ROOMS, f"{where}: torch is imported inside functions"
        elif found.top in OPTIONAL:
            assert not found.at_load, f"{where}: optional libraries are imported where they are used"
        elif found.top in THIRD_PARTY:
            assert floor < 4, f"{where}: the toolbox must load without it"
            assert floor > 0 or found.top == "numpy", f"{where}: floor 0 knows numpy alone"
        elif not found.inside and found.name != PACKAGE.name:
            assert found.top in sys.stdlib_module_names or found.top == "__future__", (
                f"{where}: an undeclared dependency"
            )


def _met_at_load(path: Path, seen: set[Path]) -> Iterator[tuple[Path, Import]]:
    """Every import that loading a module brings with it, through the modules of the package that it loads."""
    seen.add(path)
    for found in imports(path):
        if not found.at_load:
            continue
        yield path, found
        parts = found.name.split(".") if found.inside else []
        for length in range(2, len(parts) + 1):
            stem = ROOT.joinpath(*parts[:length])
            for module in (stem.with_suffix(".py"), stem / "__init__.py"):
                if module.exists() and module not in seen:
                    yield from _met_at_load(module, seen)


@pytest.mark.parametrize("name", LOADED_BY_QGIS)
def test_what_qgis_loads_needs_no_library(name: str) -> None:
    for path, found in _met_at_load(PACKAGE / name, set()):
        assert found.top not in THIRD_PARTY, f"loading {name} imports {found.name} ({path}:{found.line})"
