"""One compiled kernel for all tests: from the user's cache, else built once (half a minute)."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def kernel():
    """The compiled kernel, loaded; skips where it cannot be built for want of a compiler, torch or ninja."""
    pytest.importorskip("torch", reason="the kernel extends PyTorch")
    from cloud_removal_plugin import ext
    from cloud_removal_plugin.ext import build

    if missing := build.missing_tools():
        pytest.skip(f"the kernel cannot be built here: {missing}")
    found = ext.load(allow_build=True)
    assert found.compiled, found.sentence
    return found
