"""Small trees with the true layouts: few pixels, every folder."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

EDGE = 16
TRIPLET = (("s1", 2, "float32"), ("s2", 13, "uint16"), ("s2_cloudy", 13, "uint16"))


def write_patch(
    path: Path, bands: int, seed: int, dtype: str = "uint16", edge: int = EDGE, pixel: float = 10.0
) -> None:
    """A small georeferenced raster of noise: reflectance x 10000, or dB where the type is a float."""
    rng = np.random.default_rng(seed)
    low, high = (-24, -3) if dtype.startswith("float") else (100, 3000)
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "count": bands, "height": edge, "width": edge, "dtype": dtype}
    profile |= {"crs": "EPSG:32632", "transform": from_origin(600_000, 5_650_000, pixel, pixel)}
    with rasterio.open(path, "w", **profile) as file:
        file.write(rng.uniform(low, high, (bands, edge, edge)).astype(dtype))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Where scans and coverage are remembered."""
    return tmp_path / "cache"


@pytest.fixture
def triplet_tree(tmp_path: Path) -> Path:
    """SEN12MS-CR: spring 1 (train) and 106 (test), two patches each."""
    root = tmp_path / "SEN12MSCR"
    for roi in (1, 106):
        for patch in (2, 10):
            for seed, (kind, bands, dtype) in enumerate(TRIPLET):
                stem = f"ROIs1158_spring_{kind}"
                write_patch(root / stem / f"{kind}_{roi}" / f"{stem}_{roi}_p{patch}.tif", bands, seed + patch, dtype)
    return root


@pytest.fixture
def series_tree(tmp_path: Path) -> Path:
    """SEN12MS-CR-TS: ROIs1868/17 (val, europa), patches 2 and 10, 30 dates; radar two days later."""
    root = tmp_path / "SEN12MSCRTS"
    for time in range(30):
        for kind, bands, dtype, late in (("S1", 2, "float64", 2), ("S2", 13, "uint16", 0)):
            day = datetime.date(2018, 1, 3) + datetime.timedelta(12 * time + late)
            for patch in (2, 10):
                name = f"{kind.lower()}_ROIs1868_17_ImgNo_{time}_{day}_patch_{patch}.tif"
                write_patch(root / "ROIs1868/17" / kind / str(time) / name, bands, 100 * patch + time, dtype, 8)
    return root


@pytest.fixture
def quintet_tree(tmp_path: Path) -> Path:
    """M3R-CR: one training and one test quintet."""
    root = tmp_path / "M3RCR"
    for split, season, aoi in (("train", "fall", 1), ("test", "summer", 33)):

        def path(modality: str, suffix: str, split=split, season=season, aoi=aoi) -> Path:
            stem = f"{modality}_{season}"
            return root / split / stem / f"{stem}_{aoi}" / f"{stem}_{aoi}_p_7.{suffix}"

        write_patch(path("planet_cloudfree", "tif"), 4, 1, edge=300, pixel=3)
        write_patch(path("planet_cloudy", "tif"), 4, 2, edge=300, pixel=3)
        write_patch(path("S1", "tif"), 2, 3, "float64", 90)
        with_codes = path("landcover", "tif")
        write_patch(with_codes, 1, 4, "uint8", 90)
        with rasterio.open(with_codes, "r+") as file:
            file.write(np.random.default_rng(5).choice([10, 20, 40, 90], (1, 90, 90)).astype("uint8"))
        path("cloudmask", "npy").parent.mkdir(parents=True)
        np.save(path("cloudmask", "npy"), np.random.default_rng(6).random((300, 300)) < 0.3)
    return root


@pytest.fixture
def cube_tree(tmp_path: Path) -> Path:
    """EarthNet2021: two training cubes of one tile, and one iid test cube of 10 + 20 dates."""
    root = tmp_path / "EarthNet"
    rng = np.random.default_rng(8)

    def cube(path: Path, bands: int, dates: int) -> None:
        stack = rng.uniform(0.05, 0.4, (16, 16, bands, dates)).astype(np.float32)
        stack[:, :, -1] = 0
        stack[:, :, 4] = 0
        stack[:5, :, -1, 1::3] = 1
        stack[:5, :, :4, 1::3] = np.nan if bands == 7 else 0.9
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, highresdynamic=stack, highresstatic=np.zeros((16, 16, 1), np.float32))

    place = "2018-09-03_2019-01-30_441_569_2745_2873_6_86_42_122"
    cube(root / "train/29SND" / f"29SND_{place}.npz", 7, 30)
    cube(root / "train/29SND" / f"29SND_{place.replace('441_569', '569_697')}.npz", 7, 30)
    for part, dates in (("context", 10), ("target", 20)):
        cube(root / "iid_test_split" / part / "32UQC" / f"{part}_32UQC_{place}.npz", 5, dates)
    return root


def write_series(file, name: str, seed: int) -> None:
    """30 dates 12 days apart; every third is half covered, the last is black."""
    rng = np.random.default_rng(seed)
    dates = [datetime.date(2018, 9, 4) + datetime.timedelta(12 * i) for i in range(30)]
    dn = rng.uniform(100, 3000, (30, 13, EDGE, EDGE)).astype(np.uint16)
    dn[-1] = 0
    cover = np.zeros((30, 1, EDGE, EDGE), np.float32)
    cover[1::3, :, :8] = 1
    s2, s1 = (file.create_group(f"{name}/{kind}") for kind in ("S2", "S1"))
    s2.create_dataset("S2", data=dn, compression="gzip")
    s2["cloud_prob"], s2["cloud_mask"] = cover * np.float32(0.9), cover
    s2["S2_dates"] = [str(day).encode() for day in dates]
    s1["S1"] = rng.uniform(-24, -3, (30, 2, EDGE, EDGE)).astype(np.float32)
    s1["S1_dates"] = [str(day).encode() for day in dates]


@pytest.fixture
def series_files(tmp_path: Path) -> Path:
    """SEN12MS-CR-TS as HDF5: two series with radar in train and val."""
    h5py = pytest.importorskip("h5py", reason="these data sets are HDF5")
    root = tmp_path / "hdf5"
    root.mkdir()
    for split, roi in (("train", 36), ("val", 17)):
        with h5py.File(root / f"{split}.hdf5", "w") as file:
            for patch in (10, 2):
                write_series(file, f"ROIs1868/{roi}/ROIs1868_{roi}_patch_{patch}", patch)
    return root


@pytest.fixture
def truncate() -> Callable[[Path], None]:
    """Cuts a file in half."""

    def cut(path: Path) -> None:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])

    return cut
