"""A published network on a whole series as a job: what is kept, what finds clouds, what is refused beforehand."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")
rasterio = pytest.importorskip("rasterio")

from safetensors.torch import save_file  # noqa: E402

from cloud_removal_plugin import models  # noqa: E402
from cloud_removal_plugin.engine import detecting  # noqa: E402
from cloud_removal_plugin.engine.job import Job  # noqa: E402
from cloud_removal_plugin.engine.series_settings import SeriesSettings  # noqa: E402
from cloud_removal_plugin.errors import InputError  # noqa: E402
from cloud_removal_plugin.weights.folder import publish  # noqa: E402
from cloud_removal_plugin.weights.stored import text_of  # noqa: E402
from tests.methods.networks import land, store  # noqa: E402

SHAPE = (80, 96)
NAMES = ("blue", "green", "red", "nir")
DAYS = [date(2023, 11, 20) + timedelta(days=8 * number) for number in range(12)]


@pytest.fixture
def season(write_image) -> tuple[list[str], list[str], np.ndarray]:
    """Twelve dates of four bands over the new year with a wandering cloud on two of three; masks; bool (T, H, W)."""
    rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]]
    images, masks, hidden = [], [], []
    surface, change = land(SHAPE, 4, 1), land(SHAPE, 4, 6)
    for number, day in enumerate(DAYS):
        cloud = (rows - 8 * number) ** 2 + (cols - 40) ** 2 < 200 * (number % 3 != 1)
        image = np.where(cloud, 0.7, surface + 0.005 * number * change)
        path = write_image(np.clip(image * 10_000, 1, 12_000).astype(np.uint16), f"S2_{day}.tif")
        with rasterio.open(path, "r+") as file:
            file.descriptions = NAMES
        images.append(str(path))
        masks.append(str(write_image(cloud.astype(np.uint8), f"MASK_{day}.tif")))
        hidden.append(cloud)
    return images, masks, np.stack(hidden)


def job(season, tmp_path: Path, method: str, masks: bool = True, settings: dict | None = None, **changes) -> Job:
    given = SeriesSettings(masks=tuple(season[1]) if masks else (), **(settings or {}))
    options = {"output": str(tmp_path / "out"), "dilate": 0, "weights": str(tmp_path / "weights"), **changes}
    return Job(
        kind="series", input="", products=tuple(season[0]), settings=given.to_json(), method=method, **options
    )  # fmt: skip


def read(path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()


@pytest.mark.parametrize(
    ("method", "network", "title"),
    [
        ("utilise", "utilise_earthnet2021", "U-TILISE, EarthNet2021"),
        ("clearvision", "clearvision_removal", "Clear Vision, cloud removal"),
    ],
)
def test_a_network_restores_a_series(method, network, title, season, tmp_path: Path, do) -> None:
    store(network, tmp_path / "weights")
    result = do(job(season, tmp_path, method, uncertainty=str(tmp_path / "sigma")))
    for path, gap, day in zip(season[0], season[2], DAYS, strict=True):
        before, after = read(path), read(tmp_path / "out" / f"restored_{day:%Y%m%d}.tif")
        np.testing.assert_array_equal(after[:, ~gap], before[:, ~gap])
        assert not gap.any() or (after[:, gap] != before[:, gap]).mean() > 0.9
        sigma = read(tmp_path / "sigma" / f"sigma_{day:%Y%m%d}.tif")
        assert (sigma[:, gap] > 0).all()
        assert (sigma[:, ~gap] == 0).all()
    assert result.method_used.startswith(f"{title} (weights abababab)")
    assert result.restored_share == pytest.approx(result.cloud_share)
    assert result.expected_rmse > 0
    said = " ".join(text for _, text in do.log)
    assert "works at 20 m" in said
    assert "sees 10 dates at a time: 2 windows of dates pass over" in said


def test_a_network_restores_the_dates_that_have_its_bands(season, tmp_path: Path, do) -> None:
    """The first date has a band more, and the sixth lacks the near infrared, which U-TILISE needs."""
    store("utilise_earthnet2021", tmp_path / "weights")
    for place, names in ((0, (*NAMES, "swir16")), (5, NAMES[:3])):
        values = read(season[0][place])
        values = np.concatenate([values, values[-1:]])[: len(names)]
        with rasterio.open(season[0][place]) as file:
            profile = file.profile | {"count": len(names)}
        with rasterio.open(season[0][place], "w", **profile) as file:
            file.write(values)
            file.descriptions = names
    before = [read(path) for path in season[0]]
    result = do(job(season, tmp_path, "utilise"))
    assert result.method_used.startswith("U-TILISE, EarthNet2021")
    assert result.restored_share == pytest.approx(result.cloud_share)
    for number, (image, gap) in enumerate(zip(before, season[2], strict=True)):
        after = read(tmp_path / "out" / f"restored_{DAYS[number]:%Y%m%d}.tif")
        assert after.shape == image.shape
        assert not gap.any() or (after[:, gap] != image[:, gap]).mean() > 0.9
    said = [text for _, text in do.log if "filled by 'fast'" in text]
    assert any(text.startswith("swir16 of 1 date: filled by 'fast'") for text in said)
    assert any(text.startswith("blue, green, red of 1 date: filled by 'fast'") for text in said)


def test_its_own_network_finds_the_clouds(season, tmp_path: Path, do) -> None:
    """Clear Vision's mask network as detector: here one that sees nothing else."""
    store("clearvision_removal", tmp_path / "weights")
    widths = {"widths": (8, 16, 32, 64, 128)}
    network = models.create("clearvision_mask", **widths).eval()
    with torch.no_grad():
        for value in network.parameters():
            value.zero_()
        network.outc.conv.bias[:] = torch.tensor([0.0, 1.0])  # nothing but cloud
    facts = text_of("clearvision_mask", {**dict(models.record("clearvision_mask").config), **widths}, "m.pth", "0" * 64)
    publish("clearvision_mask", tmp_path / "weights", lambda p: save_file(network.state_dict(), str(p), metadata=facts))
    result = do(job(season, tmp_path, "clearvision", masks=False, settings={"detector": "clearvision"}))
    assert result.cloud_share == pytest.approx(1.0)
    assert any("Clear Vision's network finds clouds only" in text for _, text in do.log)
    with pytest.raises(InputError, match="Unknown detection method 'magic'"):
        do(job(season, tmp_path, "clearvision", masks=False, settings={"detector": "magic"}))


@pytest.mark.parametrize(
    ("method", "changes", "words"),
    [
        ("utilise", {}, "The weights of U-TILISE, EarthNet2021 are not in"),
        ("clearvision", {}, "The weights of Clear Vision, cloud removal are not in"),
        ("clearvision", {"memory_mb": 512}, r"12 dates of 4 bands needs about \d+ MB of memory, and MEMORY_MB leaves"),
        ("utilise", {"dates": "none"}, "needs the acquisition dates"),
    ],
)
def test_what_cannot_run_is_said_before_anything_runs(
    method, changes, words, season, write_image, tmp_path: Path, do, monkeypatch
) -> None:
    if changes:
        store("clearvision_removal", tmp_path / "weights")
        store("utilise_earthnet2021", tmp_path / "weights")
    if changes.pop("dates", ""):
        images = [str(write_image(read(p), f"scene_{n}.tif")) for n, p in enumerate(season[0])]
        season = (images, season[1], season[2])
    monkeypatch.setattr(detecting, "detect_scene", lambda *args, **more: pytest.fail("clouds were looked for"))
    with pytest.raises(InputError, match=words):
        do(job(season, tmp_path, method, masks=False, **changes))
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob("*.part*"))
