"""The attention of METHOD=crsystem as a raster of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")
rasterio = pytest.importorskip("rasterio")

from safetensors.torch import save_file  # noqa: E402

from cloud_removal_plugin import models  # noqa: E402
from cloud_removal_plugin.engine import restoration  # noqa: E402
from cloud_removal_plugin.engine.job import Job  # noqa: E402
from cloud_removal_plugin.engine.outputs import Outputs  # noqa: E402
from cloud_removal_plugin.errors import Cancelled, InputError  # noqa: E402
from cloud_removal_plugin.methods import crsystem as method  # noqa: E402
from cloud_removal_plugin.methods.attention import Attention  # noqa: E402
from cloud_removal_plugin.models.crsystem import CRSystem  # noqa: E402
from cloud_removal_plugin.observation import Observation  # noqa: E402
from cloud_removal_plugin.weights.folder import publish  # noqa: E402
from cloud_removal_plugin.weights.stored import text_of  # noqa: E402
from tests.methods.networks import land, store  # noqa: E402

BANDS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")
HEAD = {"base_width": 4, "num_rrdb": 1}


def head() -> torch.nn.Module:
    """A narrow head whose attention covers much of 0..1 (fresh weights say 0.5 everywhere)."""
    torch.manual_seed(7)
    made = models.create("tuacr", **HEAD).eval()
    with torch.no_grad():
        for name, value in made.sam.named_parameters():
            torch.nn.init.normal_(value, std=0.3 if name.endswith("bias") else 2 / value[0].numel() ** 0.5)
        made.sam.conv_out.weight.mul_(8)
    return made


def cloudy(shape: tuple[int, int]) -> np.ndarray:
    """Reflectance float32 (13, H, W) with a bright cloud."""
    image = land(shape, 13, 1)
    image[:, shape[0] // 4 : shape[0] // 2, shape[1] // 4 : shape[1] // 2] = 0.6
    return image


def whole(image: np.ndarray) -> np.ndarray:
    """The attention that the whole head gives out beside its image, (H, W), over one window."""
    nothing = [torch.zeros(1, bands, *image.shape[1:]) for bands in (13, 13, 2)]
    with torch.inference_mode():
        return head()(*nothing, torch.from_numpy(image)[None].clamp(0, 1)).attention[0, 0].numpy()


def attention(shape: tuple[int, int], ratio: float = 1.0) -> Attention:
    network = CRSystem(torch.nn.Identity(), torch.nn.Identity(), head())
    return Attention(network, 7, 16, models.record("tuacr").bands, ratio, shape, True, "CR_system")


def seen(image: np.ndarray, rows: slice, cols: slice) -> Observation:
    part = image[None, :, rows, cols]
    cloud = np.zeros((1, *part.shape[2:]), np.float32)
    bands = models.record("tuacr").bands
    return Observation(part, cloud, np.zeros(1), bands, row=rows.start, col=cols.start)


def test_it_is_the_pipelines_own_mask() -> None:
    image = cloudy((96, 128))
    found = attention((96, 128)).over(seen(image, slice(0, 96), slice(0, 128)))
    wanted = whole(image)
    assert np.ptp(wanted) > 0.3
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("ratio", [1.0, 0.5, 2.0])
def test_windows_change_nothing(ratio: float) -> None:
    shape = (333, 290)
    image = cloudy(shape)
    looks = attention(shape, ratio)
    once = looks.over(seen(image, slice(0, shape[0]), slice(0, shape[1])))
    halo, joined = looks.halo, np.zeros(shape, np.float32)
    for top in range(0, shape[0], 100):
        for left in range(0, shape[1], 130):
            rows = slice(max(0, top - halo), min(shape[0], top + 100 + halo))
            cols = slice(max(0, left - halo), min(shape[1], left + 130 + halo))
            part = looks.over(seen(image, rows, cols))[top - rows.start :, left - cols.start :][:100, :130]
            joined[top : top + part.shape[0], left : left + part.shape[1]] = part
    assert np.ptp(once) > 0.3
    assert np.abs(joined - once).max() < 1e-3


def test_a_cancel_stops_between_pieces() -> None:
    with pytest.raises(Cancelled):
        attention((64, 64)).over(seen(cloudy((64, 64)), slice(0, 64), slice(0, 64)), cancelled=lambda: True)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    for name in ("dsen2cr", "glfcr"):
        store(name, folder)
    facts = text_of("tuacr", HEAD, "tua_cr.pth", "cd" * 32)
    publish("tuacr", folder, lambda path: save_file(head().state_dict(), str(path), metadata=facts))
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested here does not depend on what the pipeline restores."""
    monkeypatch.setattr(CRSystem, "restore", lambda self, optical, radar: (optical[1:4] / 2, None))
    monkeypatch.setattr(method.CRSystem, "rest_method", "fast")


@pytest.fixture
def job(write_image, weights: Path, tmp_path: Path) -> Job:
    """300 x 320 pixels with a small cloud, so that most windows hold no gap, and a corner without data."""
    stack = np.clip(cloudy((300, 320)) * 10_000, 1, 12_000).astype(np.uint16)
    stack[:, :20, :30] = 0
    mask = np.zeros((300, 320), np.uint8)
    mask[120:140, 150:180] = 1
    image = write_image(stack, "S2A_MSIL1C_20180705.tif", nodata=0)
    with rasterio.open(image, "r+") as file:
        file.descriptions = BANDS
    radar = write_image((-14 + land((300, 320), 2, 4)).astype(np.float32), "S1_20180704.tif")
    with rasterio.open(radar, "r+") as file:
        file.descriptions = ("VV", "VH")
    out, attended = str(tmp_path / "out.tif"), str(tmp_path / "attention.tif")
    return Job(
        kind="restore", input=str(image), output=out, attention=attended, radar=str(radar), method="crsystem",
        cloud_mask=str(write_image(mask, "MASK.tif")), weights=str(weights),
    )  # fmt: skip


def with_other(job: Job, **changes: object) -> Job:
    return Job(**{name: getattr(job, name) for name in job.__dataclass_fields__} | changes)


@pytest.mark.parametrize("core", [1024, 128])
def test_the_raster_covers_the_scene_in_windows_of_any_size(job: Job, do, core: int, monkeypatch) -> None:
    monkeypatch.setattr(restoration, "core_px", lambda *_: core)
    result = do(job)
    with rasterio.open(job.input) as source:
        image = source.read().astype(np.float32) / 10_000
        grid = (source.transform, source.crs)
    with rasterio.open(result.attention) as file:
        found = file.read(1)
        assert (file.count, file.dtypes[0], file.descriptions) == (1, "float32", ("attention",))
        assert np.isnan(file.nodata)
        assert (file.transform, file.crs) == grid
        tags = file.tags()
    assert (tags["METHOD"], tags["SOURCE"]) == ("crsystem", Path(job.input).name)
    assert tags["WEIGHTS_SHA256"].split()[0] == "cd" * 32
    nothing = (image == 0).all(axis=0)
    np.testing.assert_array_equal(np.isnan(found), nothing)
    assert found[~nothing].min() >= 0
    assert found[~nothing].max() <= 1
    # beyond the reach of the corner, and of the padding to a multiple of 16 at the lower end
    inside = np.zeros(nothing.shape, bool)
    inside[40:290] = True
    assert np.abs(found - whole(image))[inside].max() < 1e-3


@pytest.mark.parametrize("other", ["fast", "dsen2cr"])
def test_another_method_has_none_and_says_so(job: Job, do, tmp_path: Path, other: str) -> None:
    with pytest.raises(InputError, match=f"ATTENTION asks for .* the method '{other}' has none"):
        do(with_other(job, method=other))
    assert not list(tmp_path.glob("*.tif.*"))
    assert not Path(job.attention).exists()


def test_a_run_that_is_cancelled_or_fails_leaves_nothing(job: Job, do, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(restoration, "core_px", lambda *_: 128)
    before = {path.name for path in tmp_path.iterdir()}

    def fails(self, *_: object) -> None:
        raise MemoryError("no memory left")

    with pytest.raises(Cancelled):
        do(job, cancelled=lambda: any(tmp_path.glob(".attention.tif*")))
    assert {path.name for path in tmp_path.iterdir()} == before
    monkeypatch.setattr(Outputs, "merge", fails)
    with pytest.raises(Exception, match="memory"):
        do(job)
    assert {path.name for path in tmp_path.iterdir()} == before
