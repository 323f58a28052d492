"""A few wide runs of the real thing, as from a shell: ``qgis_process``, the worker process, rasters on disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal

GAP = (slice(8, 40), slice(10, 50))


def read(path: str | Path) -> np.ndarray:
    """(bands, rows, columns)."""
    source = gdal.Open(str(path))
    return source.ReadAsArray().reshape(source.RasterCount, source.RasterYSize, source.RasterXSize)


@pytest.fixture
def scene(make_image, tmp_path: Path) -> dict[str, str]:
    """Three dates of 4 bands, 64 x 80 pixels; the first is white in a rectangle that its mask tells."""
    rng = np.random.default_rng(5)
    field = rng.normal(0, 1, (4, 8, 10)).repeat(8, 1).repeat(8, 2)
    ground = 1500 + 400 * field
    noisy = [ground * (1 + 0.02 * i) + rng.normal(0, 20, ground.shape) for i in range(3)]
    dates = [np.clip(date, 1, 9000).astype(np.uint16) for date in noisy]
    mask = np.zeros((1, 64, 80), np.uint8)
    mask[0][GAP] = 1
    truth = dates[0].copy()
    dates[0][:, GAP[0], GAP[1]] = 8000
    np.save(tmp_path / "truth.npy", truth)
    return {
        "cloudy": make_image("S2_20180705.tif", dates[0], nodata=0),
        "one": make_image("S2_20180625.tif", dates[1], nodata=0),
        "two": make_image("S2_20180715.tif", dates[2], nodata=0),
        "mask": make_image("mask.tif", mask),
        "clear": make_image("clear.tif", np.zeros_like(mask)),
        "truth": str(tmp_path / "truth.npy"),
    }


def test_a_scene_is_restored_and_reported_as_json(qgis_process, scene, tmp_path: Path) -> None:
    out, sigma, clouds = (str(tmp_path / name) for name in ("out.tif", "sigma.tif", "clouds.tif"))
    done = qgis_process(
        "--json", "run", "cloudremoval:removeclouds", "--", f"INPUT={scene['cloudy']}", f"OTHER_DATES={scene['one']}",
        f"OTHER_DATES={scene['two']}", f"CLOUD_MASK={scene['mask']}", f"OTHER_MASKS={scene['clear']}",
        f"OTHER_MASKS={scene['clear']}", "METHOD=fast", "DILATE=0", f"OUTPUT={out}", f"UNCERTAINTY={sigma}",
        f"CLOUDS={clouds}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    results = report["results"]
    assert set(results) == {
        "OUTPUT", "UNCERTAINTY", "CLOUDS", "CLOUD_SHARE", "RESTORED_SHARE", "EXPECTED_RMSE", "SECONDS", "METHOD_USED",
    }  # fmt: skip
    hidden = 32 * 40 / (64 * 80)
    assert results["CLOUD_SHARE"] == pytest.approx(hidden)
    assert results["RESTORED_SHARE"] == pytest.approx(hidden)
    assert report["log"]["info"][0].startswith("INPUT: S2_20180705.tif: 80 x 64 px, 4 bands")
    assert any("uint16" in line for line in report["log"]["info"])
    restored, cloudy, truth = read(out), read(scene["cloudy"]), np.load(scene["truth"])
    gap = read(scene["mask"])[0] == 1
    assert restored.dtype == np.uint16
    np.testing.assert_array_equal(restored[:, ~gap], cloudy[:, ~gap])
    error = np.sqrt(np.mean((restored[:, gap].astype(float) - truth[:, gap]) ** 2))
    assert error < 100
    assert gdal.Open(out).GetGeoTransform() == gdal.Open(scene["cloudy"]).GetGeoTransform()
    assert gdal.Open(out).GetProjection() == gdal.Open(scene["cloudy"]).GetProjection()
    uncertain = read(sigma)
    assert (uncertain[:, gap] > 0).all()
    assert (uncertain[:, ~gap] == 0).all()
    np.testing.assert_array_equal(read(clouds)[0] == 1, gap)


def test_what_was_not_asked_for_is_not_written(qgis_process, scene, tmp_path: Path) -> None:
    """No cloud: copied through; an error that cannot be known is null, and the optional outputs stay away."""
    out = str(tmp_path / "out.tif")
    done = qgis_process(
        "--json", "run", "cloudremoval:removeclouds", "--", f"INPUT={scene['two']}", f"CLOUD_MASK={scene['clear']}",
        f"OUTPUT={out}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)["results"]
    assert results["RESTORED_SHARE"] == 0
    assert results["EXPECTED_RMSE"] is None
    assert "UNCERTAINTY" not in results
    assert "CLOUDS" not in results
    np.testing.assert_array_equal(read(out), read(scene["two"]))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"INPUT": "nowhere.tif"}, "nowhere.tif"),
        ({"DATES": "2018-07-05"}, "acquisition dates (1) and the rasters (2) differ"),
        ({"OUTPUT": "no such folder/out.tif"}, "cannot be written"),
    ],
)
def test_bad_input_is_a_sentence_and_status_1(qgis_process, scene, tmp_path: Path, given: dict, words: str) -> None:
    parameters = {
        "INPUT": scene["cloudy"], "OTHER_DATES": scene["one"], "METHOD": "fast", "OUTPUT": str(tmp_path / "out.tif"),
        **given,
    }  # fmt: skip
    if "OUTPUT" in given:
        parameters["OUTPUT"] = str(tmp_path / given["OUTPUT"])
    typed = (f"{key}={value}" for key, value in parameters.items())
    done = qgis_process("--json", "run", "cloudremoval:removeclouds", "--", *typed)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out.tif").exists()
    assert not list(tmp_path.glob("*.part*"))


def test_a_saved_model_detects_and_restores(qgis_process, scene, tmp_path: Path) -> None:
    model = Path(__file__).parent / "restore.model3"
    out = tmp_path / "out.tif"
    done = qgis_process(
        "run", str(model), "--", f"scene={scene['cloudy']}", f"other={scene['one']}", f"mask={scene['mask']}",
        f"remove:restored={out}",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    gap = read(scene["mask"])[0] == 1
    assert (read(out)[:, gap] < 6000).mean() > 0.95
    np.testing.assert_array_equal(read(out)[:, ~gap], read(scene["cloudy"])[:, ~gap])


def test_qgis_keeps_its_proj_when_the_job_runs_inside(qgis_process, make_image, scene, tmp_path: Path) -> None:
    """Reads, warps (the other date has another CRS) and writes inside QGIS, whose PROJ paths stay as they are."""
    other = make_image("S2_20180620.tif", np.full((4, 30, 40), 1400, np.uint16), epsg=4326)
    gdal.Warp(other, scene["one"], dstSRS="EPSG:4326")
    script = tmp_path / "watch.py"
    script.write_text(
        "from qgis.core import QgsProcessingAlgorithm, QgsProcessingParameterString, QgsProcessingOutputString\n"
        "from qgis.processing import alg\n"
        "import json\n"
        "@alg(name='watch', label='watch', group='t', group_label='t')\n"
        "@alg.input(type=alg.STRING, name='PARAMETERS', label='json')\n"
        "@alg.output(type=alg.STRING, name='PATHS', label='paths')\n"
        "def watch(instance, parameters, context, feedback, inputs):\n"
        '    """Runs removeclouds and looks at PROJ before and after."""\n'
        "    import processing\n"
        "    from osgeo import osr\n"
        "    before = osr.GetPROJSearchPaths()\n"
        "    given = json.loads(instance.parameterAsString(parameters, 'PARAMETERS', context))\n"
        "    processing.run('cloudremoval:removeclouds', given, context=context, feedback=feedback)\n"
        "    crs = osr.SpatialReference()\n"
        "    crs.ImportFromEPSG(32633)\n"
        "    return {'PATHS': json.dumps([before, osr.GetPROJSearchPaths(), crs.GetName()])}\n",
        encoding="utf-8",
    )
    folder = Path(qgis_process.environment["QGIS_CUSTOM_CONFIG_PATH"]) / "profiles/default/processing/scripts"
    folder.mkdir(parents=True, exist_ok=True)
    installed = folder / "watch.py"
    installed.write_text(script.read_text(encoding="utf-8"), encoding="utf-8")
    out = tmp_path / "out.tif"
    given = {
        "INPUT": scene["cloudy"], "OTHER_DATES": [other], "CLOUD_MASK": scene["mask"], "METHOD": "interpolation",
        "OUTPUT": str(out),
    }  # fmt: skip
    try:
        typed = f"PARAMETERS={json.dumps(given)}"
        done = qgis_process("--json", "run", "script:watch", "--", typed, CLOUD_REMOVAL_RUN="inprocess")
    finally:
        installed.unlink()
    if "or later is needed" in done.stdout + done.stderr:
        pytest.skip("the libraries of QGIS' own Python are too old for a job inside QGIS, which is said")
    assert done.returncode == 0, done.stdout + done.stderr
    before, after, name = json.loads(json.loads(done.stdout)["results"]["PATHS"])
    assert before == after
    assert "33N" in name
    assert out.is_file()


@pytest.mark.slow
def test_real_scene(qgis_process, data_root: Path, tmp_path: Path) -> None:
    """Sentinel-2 over Lazio with real clouds, found by the plugin: CRS in degrees, dates from names."""
    folder = data_root / "s2_ts_lazio_2018"
    if not folder.is_dir():
        pytest.skip(f"no real scene: {folder} is not there")
    target = folder / "S2L1C_2018-07-05.tif"
    others = [folder / f"S2L1C_2018-{day}.tif" for day in ("06-10", "06-25", "07-20", "08-09")]
    out, sigma = tmp_path / "out.tif", tmp_path / "sigma.tif"
    done = qgis_process(
        "--json", "run", "cloudremoval:removeclouds", "--", f"INPUT={target}",
        *(f"OTHER_DATES={path}" for path in others), "METHOD=fast", f"OUTPUT={out}", f"UNCERTAINTY={sigma}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert 0.1 < report["results"]["CLOUD_SHARE"] < 0.6
    assert 0.001 < report["results"]["EXPECTED_RMSE"] < 0.05
    assert any("2018-07-05, 2018-06-10" in line for line in report["log"]["info"])
    restored, cloudy = read(out), read(target)
    changed = read(sigma)[1] > 0
    np.testing.assert_array_equal(restored[:, ~changed], cloudy[:, ~changed])
    blue = 1
    assert restored[blue][changed].mean() < cloudy[blue][changed].mean() - 100


def test_the_installation_is_reported(qgis_process) -> None:
    done = qgis_process("--json", "run", "cloudremoval:checkinstallation")
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)["results"]
    assert "Worker" in results["REPORT"]
    assert isinstance(results["PROBLEMS"], int)
