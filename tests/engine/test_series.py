"""A series as a job: what is kept, what is written, dates in between, composites, and bad input in one sentence."""

from __future__ import annotations

import itertools
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio

from cloud_removal_plugin.engine import series, series_fits, series_plan, threads
from cloud_removal_plugin.engine.job import Job
from cloud_removal_plugin.engine.run import run
from cloud_removal_plugin.engine.series_composite import best_pixel, medoid
from cloud_removal_plugin.engine.series_settings import SeriesSettings, Wanted, typed_dates, wanted
from cloud_removal_plugin.errors import Cancelled, CloudRemovalError, DateError, InputError
from cloud_removal_plugin.raster.windows import Window
from tests.engine.conftest import SEASON_NAMES as NAMES


def done(images, tmp_path: Path, masks=(), log=None, cancelled=lambda: False, **changes):
    """Run a series; keywords of the settings and of the job."""
    keys = set(SeriesSettings.__dataclass_fields__)
    settings = SeriesSettings(masks=tuple(masks), **{k: v for k, v in changes.items() if k in keys})
    options = {"method": "interpolation", "output": str(tmp_path / "out"), "dilate": 0}
    options |= {k: v for k, v in changes.items() if k not in keys}
    job = Job(kind="series", input="", products=tuple(images), settings=settings.to_json(), **options)
    return run(Job.from_json(job.to_json()), lambda share, phase: None, cancelled, log or (lambda level, text: None))


def read(path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()


def test_clear_pixels_stay_bit_for_bit_and_gaps_are_filled(season, tmp_path) -> None:
    images, masks = season()
    result = done(images, tmp_path, masks, method="fast", uncertainty=str(tmp_path / "sigma"))
    assert result.restored_share == pytest.approx(result.cloud_share)
    for path, mask in zip(images, masks, strict=True):
        day = Path(path).stem[3:]
        before, hidden = read(path), read(mask)[0] > 0
        with rasterio.open(tmp_path / "out" / f"restored_{day.replace('-', '')}.tif") as file:
            after = file.read()
            assert file.tags()["ACQUISITION_DATE"] == day
            assert file.descriptions == NAMES
        np.testing.assert_array_equal(after[:, ~hidden], before[:, ~hidden])
        assert after[:, hidden].max() < 4000
        with rasterio.open(tmp_path / "sigma" / f"sigma_{day.replace('-', '')}.tif") as file:
            sigma = file.read()
            assert file.descriptions == tuple(f"{name} standard deviation" for name in NAMES)
            assert file.tags()["CONTENT"] == "standard deviation in the numbers of the restored raster"
        assert (sigma[:, ~hidden] == 0).all()
        assert (sigma[:, hidden] > 0).all()


def test_pixels_that_a_mask_band_hides_stay_hidden(season, tmp_path) -> None:
    """As a cloud-optimised GeoTIFF tells its holes: no nodata number, any numbers below the mask."""
    images, masks = season()
    for path in images:
        valid = np.ones((64, 48), bool)
        valid[:, 40:] = valid[20:30, 20:24] = False
        with rasterio.open(path, "r+") as file:
            file.write_mask(valid)
    done(images, tmp_path, masks)
    for path, mask in zip(images, masks, strict=True):
        hidden = read(mask)[0] > 0
        with rasterio.open(tmp_path / "out" / f"restored_{Path(path).stem[3:].replace('-', '')}.tif") as file:
            seen = file.dataset_mask() > 0
            np.testing.assert_array_equal(seen[~hidden], valid[~hidden])
            assert (file.read()[:, seen] < 5000).all()


def test_what_was_known_of_earlier_rasters_goes_with_them(season, tmp_path) -> None:
    """QGIS keeps statistics in .aux.xml; those of an earlier run are not those of the new pixels."""
    images, masks = season(2)
    done(images, tmp_path, masks)
    for name in ("restored_20240501.tif", "stack.vrt"):
        (tmp_path / "out" / f"{name}.aux.xml").write_text("<PAMDataset></PAMDataset>", encoding="utf-8")
    done(images, tmp_path, masks)
    assert not list((tmp_path / "out").glob("*.aux.xml"))
    # what a GeoTIFF cannot say of its CRS lies in such a file, which comes along
    far = "+proj=ob_tran +o_proj=longlat +o_lon_p=-162 +o_lat_p=39.25 +lon_0=180 +datum=WGS84"
    images, masks = season(2, crs=far)
    done(images, tmp_path, masks)
    with rasterio.open(tmp_path / "out" / "restored_20240501.tif") as file, rasterio.open(images[0]) as before:
        assert file.crs == before.crs


@pytest.mark.parametrize(
    ("dtype", "taken", "hole"), [("uint16", False, 0), ("uint16", True, 65535), ("float32", 0, None)]
)
def test_the_stack_has_the_holes_of_every_date(season, tmp_path, dtype: str, taken: bool, hole: int | None) -> None:
    """By a number that no valid pixel has: QGIS takes no holes from the mask bands of a virtual raster."""
    images, masks = season()
    for number, path in enumerate(images):
        valid = np.ones((64, 48), bool)
        valid[2 * number : 2 * number + 5, :6] = False
        with rasterio.open(path) as file:
            stored, profile = file.read(), file.profile
        stored[1, 60, 2] = 0 if taken else 1
        with rasterio.open(path, "w", **profile | {"dtype": dtype}) as file:
            file.write((stored / 10_000 if dtype == "float32" else stored).astype(dtype))
            file.descriptions = NAMES
        with rasterio.open(path, "r+") as file:
            file.write_mask(valid)
    done(images, tmp_path, masks)
    with rasterio.open(tmp_path / "out" / "stack.vrt") as stack:
        assert all(number == hole if hole is not None else np.isnan(number) for number in stack.nodatavals)
        for number, path in enumerate(images):
            own = tmp_path / "out" / f"restored_{Path(path).stem[3:].replace('-', '')}.tif"
            with rasterio.open(own) as file:
                seen, values = file.dataset_mask() > 0, file.read()
            assert 0 < (~seen).sum() <= 30
            for band in range(4):
                np.testing.assert_array_equal(stack.read_masks(4 * number + band + 1) > 0, seen)
                np.testing.assert_array_equal(stack.read(4 * number + band + 1)[seen], values[band][seen])


def test_the_stack_shows_all_dates_and_bands(season, tmp_path) -> None:
    images, masks = season(3)
    result = done(images, tmp_path, masks)
    with rasterio.open(tmp_path / "out" / "stack.vrt") as stack:
        assert stack.count == 12
        assert stack.descriptions[4] == "2024-05-11 blue"
        np.testing.assert_array_equal(stack.read([5, 6, 7, 8]), read(tmp_path / "out" / "restored_20240511.tif"))
    spans = [line.split("\t")[1:] for line in result.report.splitlines()]
    assert spans == [["2024-05-01", "2024-05-10"], ["2024-05-11", "2024-05-20"], ["2024-05-21", "2024-05-30"]]


def test_windows_do_not_show(season, tmp_path, monkeypatch) -> None:
    images, masks = season()
    done(images, tmp_path, masks, method="fast")
    whole = [read(p) for p in sorted((tmp_path / "out").glob("restored*.tif"))]
    monkeypatch.setattr(series_plan, "EDGES", (32,))
    done(images, tmp_path, masks, method="fast", output=str(tmp_path / "cut"))
    cut = [read(p) for p in sorted((tmp_path / "cut").glob("restored*.tif"))]
    assert max(np.abs(a.astype(int) - b).max() for a, b in zip(whole, cut, strict=True)) <= 1


def test_clouds_that_were_found_stay_out_of_the_folder(season, tmp_path) -> None:
    images, _ = season(masks=False)
    done(images, tmp_path, uncertainty=str(tmp_path / "sigma"))
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {f"restored_{Path(p).stem[3:].replace('-', '')}.tif" for p in images} | {"stack.vrt"}
    assert {path.name[:6] for path in (tmp_path / "sigma").iterdir()} == {"sigma_"}


def test_even_steps_lists_one_date_and_composites(season, tmp_path) -> None:
    images, masks = season()
    done(images, tmp_path, masks, output_dates="every 15 days", output=str(tmp_path / "even"))
    assert [p.stem for p in sorted((tmp_path / "even").glob("*.tif"))] == [
        "restored_20240501", "restored_20240516", "restored_20240531",
    ]  # fmt: skip
    done(images, tmp_path, masks, target="2024-05-21", output=str(tmp_path / "one"))
    assert [p.stem for p in (tmp_path / "one").glob("*.tif")] == ["restored_20240521"]
    done(images, tmp_path, masks, output_dates="2024-05-16;2024-05-11", output=str(tmp_path / "list"))
    first, between = (read(p) for p in sorted((tmp_path / "list").glob("*.tif")))
    done(images, tmp_path, masks)
    after = read(tmp_path / "out" / "restored_20240521.tif")
    np.testing.assert_allclose(between, (first.astype(float) + after) / 2, atol=1.01)
    for kind in ("medoid", "best_pixel"):
        done(images, tmp_path, masks, target="composite", composite=kind, output=str(tmp_path / kind))
        assert [p.stem for p in (tmp_path / kind).glob("*.tif")] == [f"composite_{kind}_20240501_20240610"]


def test_unsorted_and_equal_dates(season, tmp_path) -> None:
    images, masks = season(4)
    shuffled = [2, 0, 3, 1]
    done([images[i] for i in shuffled], tmp_path, [masks[i] for i in shuffled])
    done(images, tmp_path, masks, output=str(tmp_path / "sorted"))
    for path in sorted((tmp_path / "sorted").glob("restored*.tif")):
        np.testing.assert_array_equal(read(tmp_path / "out" / path.name), read(path))
    twice = "2024-05-01;2024-05-11;2024-05-11;2024-05-31"
    result = done(images, tmp_path, masks, dates=twice, output=str(tmp_path / "twins"))
    twins = "S2_2024-05-11.tif and S2_2024-05-21.tif are of one day and one sensor"
    assert any(twins in line for line in result.warnings)
    names = [p.stem for p in sorted((tmp_path / "twins").glob("restored*.tif"))]
    assert names == ["restored_20240501", "restored_20240511", "restored_20240511_2", "restored_20240531"]


def test_as_many_masks_in_another_order_are_matched_by_their_dates(season, tmp_path) -> None:
    images, masks = season(4)
    done(images, tmp_path, masks, output=str(tmp_path / "sorted"))
    done(images, tmp_path, masks[::-1])
    for path in sorted((tmp_path / "sorted").glob("restored*.tif")):
        np.testing.assert_array_equal(read(tmp_path / "out" / path.name), read(path))
    result = done(images, tmp_path, [masks[0], masks[0], *masks[2:]])
    assert any("MASK_2024-05-01.tif is taken as the mask of S2_2024-05-11.tif" in line for line in result.warnings)


def test_masks_of_some_dates_are_matched_by_their_dates(season, tmp_path) -> None:
    images, masks = season(5)
    done(images, tmp_path, [masks[3], masks[1]])
    for number in (1, 3):
        hidden = read(masks[number])[0] > 0
        after = read(tmp_path / "out" / f"restored_{Path(images[number]).stem[3:].replace('-', '')}.tif")
        np.testing.assert_array_equal(after[:, ~hidden], read(images[number])[:, ~hidden])
        assert after[:, hidden].max() < 5000


@pytest.mark.parametrize("method", ["interpolation", "harmonic", "fast"])
def test_nothing_is_learned_from_what_a_mask_does_not_cover(season, tmp_path, write_image, method: str) -> None:
    """The clouds of two dates overlap; the mask of one ends in the middle, so half of its cloud stays as it is."""
    images, masks = season()
    half = read(masks[2])[0, :, :24]
    masks[2] = str(write_image(half, "MASK_half_2024-05-21.tif"))
    done(images, tmp_path, masks, method=method)
    for number in (1, 3):
        hidden = read(masks[number])[0] > 0
        day = Path(images[number]).stem[3:].replace("-", "")
        assert read(tmp_path / "out" / f"restored_{day}.tif")[:, hidden].max() < 4000
    before, after = read(images[2]), read(tmp_path / "out" / "restored_20240521.tif")
    kept = np.ones(before.shape[1:], bool)
    kept[:, :24] = half == 0
    np.testing.assert_array_equal(after[:, kept], before[:, kept])
    assert after[:, ~kept].max() < 4000


def test_a_date_that_shows_nothing_and_radar_of_one_half(season, tmp_path, write_image) -> None:
    images, masks = season(5)
    everything = write_image(np.ones((64, 48), np.uint8), "MASK_all.tif")
    radar = np.full((2, 64, 24), -12, np.float32) + np.random.default_rng(0).normal(0, 1, (2, 64, 24))
    half = write_image(radar.astype(np.float32), "S1_2024-05-20.tif", nodata=float("nan"))
    with rasterio.open(half, "r+") as file:
        file.descriptions = ("VV", "VH")
    given = [*masks[:2], str(everything), *masks[3:]]
    result = done(images, tmp_path, given, method="fast", radar=(str(half),))
    assert result.restored_share == pytest.approx(result.cloud_share)
    assert read(tmp_path / "out" / "restored_20240521.tif").max() < 5000


def test_mixed_reference_systems_are_warped_and_said(season, tmp_path, write_image) -> None:
    images, masks = season(4)
    from rasterio.warp import calculate_default_transform, reproject

    with rasterio.open(images[2]) as file:
        crs = "EPSG:32631"
        transform, width, height = calculate_default_transform(file.crs, crs, 48, 64, *file.bounds)
        out = np.zeros((4, height, width), np.uint16)
        reproject(
            file.read(), out, src_transform=file.transform, src_crs=file.crs, dst_transform=transform, dst_crs=crs
        )
    other = write_image(out, "S2_2024-05-21.tif", crs=crs, transform=transform, nodata=0)
    with rasterio.open(other, "r+") as file:
        file.descriptions = NAMES
    result = done([*images[:2], str(other), images[3]], tmp_path, masks)
    assert any("another grid" in sentence for sentence in result.warnings)
    with rasterio.open(tmp_path / "out" / "restored_20240521.tif") as file:
        assert (file.height, file.width, file.crs.to_epsg()) == (64, 48, 32632)


def test_pixels_finer_than_the_first_rasters_are_told(season, tmp_path, write_image) -> None:
    images, _ = season(3)
    with rasterio.open(images[0]) as file:
        coarse = write_image(
            file.read()[:, ::2, ::2], "S2_2024-06-20.tif", transform=file.transform * file.transform.scale(2)
        )
    with rasterio.open(coarse, "r+") as file:
        file.descriptions = NAMES
    result = done([str(coarse), *images], tmp_path)
    assert any("finer pixels (10 m) than the first, whose 20 m" in line for line in result.warnings)
    result = done([*images, str(coarse)], tmp_path)
    assert not any("finer pixels" in line for line in result.warnings)


@pytest.mark.parametrize("dates", [1, 2])
def test_one_and_two_dates(season, tmp_path, dates: int) -> None:
    images, masks = season(dates)
    said: list[str] = []
    result = done(images, tmp_path, masks, method="fast", log=lambda level, text: said.append(text))
    assert result.restored_share == pytest.approx(result.cloud_share)
    assert said[0].startswith(("One date (2024-05-01), ", "2 dates (2024-05-01 to 2024-05-11), "))


@pytest.mark.slow
def test_a_year_of_days(tmp_path, season) -> None:
    images, masks = season(365, step=1)
    result = done(images, tmp_path, masks)
    assert len(list((tmp_path / "out").glob("restored_*.tif"))) == 365
    assert result.restored_share == pytest.approx(result.cloud_share)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dates": "2024-05-01;2024-05-11"}, "DATES holds 2 dates for 3 acquisitions"),
        ({"output_dates": "every 0 days"}, "every 0 days is not possible"),
        ({"output_dates": "every 2 weeks"}, "'every 2 weeks' cannot be read. Use input, every 7 days"),
        ({"output_dates": "2030-01-01"}, "lies outside the series"),
        ({"output_dates": "sometimes"}, "'sometimes' cannot be read"),
        ({"target": "best"}, "TARGET 'best' is not a date"),
        ({"bands_per_date": 3}, "no multiple of BANDS_PER_DATE"),
        ({"method": "magic"}, "no method 'magic' for series"),
        ({"composite": "mean"}, "no composite 'mean'"),
    ],
)
def test_bad_settings_are_one_sentence_and_leave_nothing(season, tmp_path, changes, sentence) -> None:
    images, masks = season(3)
    with pytest.raises(CloudRemovalError, match=sentence):
        done(images, tmp_path, masks, **changes)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".cloud-removal*"))


def test_bad_layers_are_one_sentence(season, tmp_path, write_image) -> None:
    images, masks = season(3)
    with pytest.raises(InputError, match="given twice"):
        done([*images, images[0]], tmp_path)
    with pytest.raises(InputError, match="cannot be matched by date"):
        done(images, tmp_path, [str(write_image(np.zeros((64, 48), np.uint8), "mask.tif")), masks[1]])
    with pytest.raises(CloudRemovalError, match="is a file"):
        done(images, tmp_path, masks, output=images[0])
    undated = [str(write_image(read(path), f"scene_{letter}.tif")) for path, letter in zip(images, "abc", strict=True)]
    with pytest.raises(DateError, match="Type them into DATES"):
        done(undated, tmp_path, masks, output_dates="every 5 days")
    done(undated, tmp_path, masks)
    assert (tmp_path / "out" / "restored_date002.tif").exists()


def test_a_cancel_leaves_nothing(season, tmp_path) -> None:
    images, masks = season(3)
    asked = itertools.count()
    with pytest.raises(Cancelled):
        done(images, tmp_path, masks, cancelled=lambda: next(asked) > 2)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".cloud-removal*"))


@pytest.mark.parametrize(("device", "expected"), [("cpu", 3), ("cuda", 1)])
def test_memory_is_divided_by_the_windows_under_way(season, tmp_path, monkeypatch, device: str, expected: int) -> None:
    """One a thread on the processor, one alone on a graphics card."""
    asked: list[int] = []

    def room_for(method, facts, budget_mb, workers, held):
        asked.append(workers)
        return series_plan.room_for(method, facts, budget_mb, workers, held)

    monkeypatch.setattr(threads, "pool_size", lambda: 3)
    monkeypatch.setattr(series.devices, "choose", lambda requested: device)
    monkeypatch.setattr(series_fits, "room_for", room_for)
    images, masks = season(3)
    done(images, tmp_path, masks)
    assert asked == [expected]


def test_dates_wanted() -> None:
    days = [date(2024, 5, 1), date(2024, 5, 11)]
    assert wanted(SeriesSettings(), days, 2) == [Wanted(days[0], 0), Wanted(days[1], 1)]
    assert wanted(SeriesSettings(output_dates="Every 5 days"), days, 2)[1] == Wanted(date(2024, 5, 6), None)
    assert typed_dates("20240501, 2024-05-01", 2) == [days[0], days[0]]


def test_medoid_and_best_pixel_pick_what_they_should() -> None:
    images = np.array([0.1, 0.2, 0.21, 0.9], np.float32)[:, None, None, None] * np.ones((1, 2, 1, 2), np.float32)
    assert medoid(images)[0, 0, 0] == pytest.approx(0.2)
    gaps = np.zeros((4, 1, 2), bool)
    gaps[1:3, 0, 0] = True
    best = best_pixel(images, gaps, np.array([0.0, 10.0, 20.0, 30.0]))
    assert best[0, 0, 0] in (pytest.approx(0.1), pytest.approx(0.9))
    best = best_pixel(images, np.zeros_like(gaps), np.array([0.0, 10.0, 20.0, 30.0]))
    assert best[0, 0, 1] in (pytest.approx(0.2), pytest.approx(0.21))


def test_a_hundred_dates_of_a_whole_tile_fit_four_gigabytes() -> None:
    for dates, bands in ((100, 4), (100, 10), (100, 13), (365, 10)):
        edge = series_plan.window_px(4096, dates, bands, 64)
        window = series_plan.pixel_bytes(dates, bands) * (edge + 128) ** 2
        fit = series_plan.pixel_bytes(dates, bands) * series_plan.sample_px(4096, dates, bands)
        assert max(window, fit) <= 0.62 * 4096 * 2**20
        assert edge >= 128


def test_regions_pass_over_without_an_edge() -> None:
    for window in (Window(0, 0, 64, 256), Window(192, 192, 128, 128)):
        parts = series_plan.shares(window, 512, 512, 256)
        np.testing.assert_allclose(sum(weight for _, weight in parts), 1, atol=1e-6)
    assert len(series_plan.shares(Window(0, 0, 64, 64), 512, 512, 256)) == 1
