"""The libraries of the interpreter, looked at before a job begins."""

from __future__ import annotations

from importlib import metadata

import pytest

from cloud_removal_plugin.engine.libraries import LEAST, check_libraries
from cloud_removal_plugin.errors import DependencyError


def versions(monkeypatch, **found: str) -> None:
    def version(name: str) -> str:
        if name not in found:
            raise metadata.PackageNotFoundError(name)
        return found[name]

    monkeypatch.setattr(metadata, "version", version)


def test_the_oldest_allowed_pass(monkeypatch):
    versions(monkeypatch, **{name: ".".join(map(str, least)) for name, least in LEAST.items()})
    check_libraries()


@pytest.mark.parametrize("version", ["1.21.5", "0.9", "odd"])
def test_an_old_one_is_named_with_its_cure(monkeypatch, version):
    versions(monkeypatch, numpy=version, rasterio="1.4.4")
    with pytest.raises(DependencyError, match=rf"numpy {version}; 1\.22 or later is needed.*CLOUD_REMOVAL_PYTHON"):
        check_libraries()


def test_a_missing_one_is_named(monkeypatch):
    versions(monkeypatch, numpy="2.1.0")
    with pytest.raises(DependencyError, match=r"has no rasterio; 1\.3 or later"):
        check_libraries()
