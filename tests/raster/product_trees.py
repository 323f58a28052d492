"""Writes small products with the true layout, names and metadata: Sentinel-2 SAFE, HLS, Landsat, PlanetScope, STAC."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
RESOLUTION = {"B02": 10, "B03": 10, "B04": 10, "B08": 10, "B01": 60, "B09": 60, "B10": 60}
"""Native pixel in metres; 20 for the rest."""

Values = Callable[[str, np.ndarray, np.ndarray], np.ndarray]
"""Reflectance of a band at pixel centres (x, y) in metres."""


def smooth(band: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Linear in x and y, so that bilinear resampling is exact away from the rim; every band its own."""
    return 0.05 + 0.02 * BANDS.index(band) + (x - 300000) * 1e-5 + (y - 4700000) * 2e-5


def write_raster(path: Path, array: np.ndarray, transform: Affine, crs: str = "EPSG:32633", **profile: object) -> Path:
    """GeoTIFF or JPEG 2000 by the file's ending; skips where this GDAL writes no JPEG 2000."""
    path.parent.mkdir(parents=True, exist_ok=True)
    jp2 = path.suffix == ".jp2"
    if jp2:
        with rasterio.Env() as env:
            if "JP2OpenJPEG" not in env.drivers():
                pytest.skip("this GDAL has no JPEG 2000 driver (JP2OpenJPEG)")
    options = {"driver": "JP2OpenJPEG", "QUALITY": 100, "REVERSIBLE": "YES"} if jp2 else {"driver": "GTiff"}
    bands = array if array.ndim == 3 else array[None]
    with rasterio.open(
        path, "w", width=bands.shape[2], height=bands.shape[1], count=len(bands), dtype=bands.dtype, crs=crs,
        transform=transform, **{**options, **profile},
    ) as file:  # fmt: skip
        file.write(bands)
    return path


def on_grid(origin: tuple[float, float], pixel: float, edge_m: float) -> tuple[np.ndarray, np.ndarray, Affine]:
    """Pixel centres x and y, and the transform, of a square."""
    count = round(edge_m / pixel)
    cols, rows = np.meshgrid(np.arange(count) + 0.5, np.arange(count) + 0.5)
    return origin[0] + cols * pixel, origin[1] - rows * pixel, Affine(pixel, 0, origin[0], 0, -pixel, origin[1])


def make_safe(
    folder: Path,
    *,
    level: str = "L2A",
    baseline: str = "05.11",
    tile: str = "33TUG",
    origin: tuple[float, float] = (300000.0, 4700000.0),
    edge_m: float = 1200.0,
    start: str = "2024-06-10T10:00:31",
    values: Values = smooth,
    leave_out: tuple[str, ...] = (),
    scl: np.ndarray | None = None,
    epsg: int = 32633,
    hole: bool = False,
) -> Path:
    """A SAFE folder; ``hole`` leaves the upper left 300 m without data."""
    new = float(baseline) >= 4
    stamp = start.replace("-", "").replace(":", "")
    code = baseline.replace(".", "")
    name = f"S2A_MSI{level}_{stamp}_N{code}_R122_T{tile}_{stamp}.SAFE"
    root = folder / name
    granule = root / "GRANULE" / f"{level}_T{tile}_A046852_{stamp}"
    offset = -1000 if new else 0
    for band in BANDS:
        if band in leave_out or (level == "L2A" and band == "B10"):
            continue
        pixel = RESOLUTION.get(band, 20)
        x, y, transform = on_grid(origin, pixel, edge_m)
        dn = np.clip(np.rint(values(band, x, y) * 10000 - offset), 1, 32767).astype(np.uint16)
        if hole:
            dn[(x < origin[0] + 300) & (y > origin[1] - 300)] = 0
        place = f"R{pixel}m/T{tile}_{stamp}_{band}_{pixel}m.jp2" if level == "L2A" else f"T{tile}_{stamp}_{band}.jp2"
        write_raster(granule / "IMG_DATA" / place, dn, transform, f"EPSG:{epsg}")
    _write_quality(granule, level, new, tile, stamp, origin, edge_m, scl, epsg)
    (root / f"MTD_MSI{level}.xml").write_text(_metadata(name, level, baseline, start, offset if new else None))
    (granule / "MTD_TL.xml").write_text(_tile_metadata(level, start, origin, edge_m, epsg))
    (root / "manifest.safe").write_text("<xfdu:XFDU/>")
    return root


def _write_quality(granule, level, new, tile, stamp, origin, edge_m, scl, epsg) -> None:
    crs = f"EPSG:{epsg}"
    if level == "L2A":
        _, _, transform = on_grid(origin, 20, edge_m)
        count = round(edge_m / 20)
        classes = np.full((count, count), 4, np.uint8) if scl is None else scl
        write_raster(granule / f"IMG_DATA/R20m/T{tile}_{stamp}_SCL_20m.jp2", classes, transform, crs)
        share = np.where(np.isin(classes, (8, 9, 10)), 90, 3).astype(np.uint8)
        write_raster(granule / "QI_DATA/MSK_CLDPRB_20m.jp2", share, transform, crs)
    if new:
        _, _, transform = on_grid(origin, 60, edge_m)
        count = round(edge_m / 60)
        planes = np.zeros((3, count, count), np.uint8)
        planes[0, :5, :5], planes[1, -5:, -5:], planes[2, :5, -5:] = 1, 1, 1
        write_raster(granule / "QI_DATA/MSK_CLASSI_B00.jp2", planes, transform, crs)
    else:
        x, y = origin[0], origin[1]
        corners = f"{x} {y} {x + 300} {y} {x + 300} {y - 300} {x} {y - 300} {x} {y}"
        (granule / "QI_DATA").mkdir(parents=True, exist_ok=True)
        (granule / "QI_DATA/MSK_CLOUDS_B00.gml").write_text(
            '<?xml version="1.0"?><eop:Mask xmlns:eop="http://www.opengis.net/eop/2.0"><eop:maskMembers>'
            '<eop:MaskFeature gml:id="OPAQUE.0"><eop:maskType codeSpace="urn:gs2:S2PDGS:maskType">OPAQUE</eop:maskType>'
            "<eop:extentOf><gml:Polygon><gml:exterior><gml:LinearRing>"
            f'<gml:posList srsDimension="2">{corners}</gml:posList>'
            "</gml:LinearRing></gml:exterior></gml:Polygon></eop:extentOf></eop:MaskFeature></eop:maskMembers></eop:Mask>"
        )


def _metadata(name: str, level: str, baseline: str, start: str, offset: int | None) -> str:
    two = level == "L2A"
    tag, listing = (
        ("BOA_ADD_OFFSET", "BOA_ADD_OFFSET_VALUES_LIST") if two else ("RADIO_ADD_OFFSET", "Radiometric_Offset_List")
    )
    entries = "".join(f'<{tag} band_id="{i}">{offset}</{tag}>' for i in range(13))
    offsets = "" if offset is None else f"<{listing}>{entries}</{listing}>"
    quantity = (
        '<QUANTIFICATION_VALUES_LIST><BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>'
        '<AOT_QUANTIFICATION_VALUE unit="none">1000.0</AOT_QUANTIFICATION_VALUE></QUANTIFICATION_VALUES_LIST>'
        if two
        else '<QUANTIFICATION_VALUE unit="none">10000</QUANTIFICATION_VALUE>'
    )
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-{level[1:]}_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-{level[1:]}.xsd">
  <n1:General_Info><Product_Info>
    <PRODUCT_START_TIME>{start}.024Z</PRODUCT_START_TIME>
    <PRODUCT_URI>{name}</PRODUCT_URI>
    <PROCESSING_LEVEL>Level-{level[1:]}</PROCESSING_LEVEL>
    <PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>
    <Datatake datatakeIdentifier="GS2A_X">
      <SPACECRAFT_NAME>Sentinel-2A</SPACECRAFT_NAME>
      <DATATAKE_SENSING_START>{start}.024Z</DATATAKE_SENSING_START>
      <SENSING_ORBIT_NUMBER>122</SENSING_ORBIT_NUMBER>
    </Datatake></Product_Info>
    <Product_Image_Characteristics>{quantity}{offsets}
      <Spectral_Information_List><Spectral_Information bandId="1" physicalBand="B2"><RESOLUTION>10</RESOLUTION>
        <Wavelength><MIN unit="nm">439</MIN><MAX unit="nm">535</MAX><CENTRAL unit="nm">492.7</CENTRAL></Wavelength>
      </Spectral_Information></Spectral_Information_List>
    </Product_Image_Characteristics>
  </n1:General_Info>
</n1:Level-{level[1:]}_User_Product>
"""


def _tile_metadata(level: str, start: str, origin: tuple[float, float], edge_m: float, epsg: int) -> str:
    count = round(edge_m / 10)
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-{level[1:]}_Tile_ID xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Level-{level[1:]}_Tile_Metadata.xsd">
  <n1:General_Info><SENSING_TIME metadataLevel="Standard">{start}.000Z</SENSING_TIME></n1:General_Info>
  <n1:Geometric_Info><Tile_Geocoding metadataLevel="Brief">
    <HORIZONTAL_CS_CODE>EPSG:{epsg}</HORIZONTAL_CS_CODE>
    <Size resolution="10"><NROWS>{count}</NROWS><NCOLS>{count}</NCOLS></Size>
    <Geoposition resolution="10">
      <ULX>{origin[0]:.0f}</ULX><ULY>{origin[1]:.0f}</ULY><XDIM>10</XDIM><YDIM>-10</YDIM>
    </Geoposition>
  </Tile_Geocoding><Tile_Angles metadataLevel="Standard">
    <Mean_Sun_Angle>
      <ZENITH_ANGLE unit="deg">24.75</ZENITH_ANGLE><AZIMUTH_ANGLE unit="deg">143.25</AZIMUTH_ANGLE>
    </Mean_Sun_Angle>
    <Mean_Viewing_Incidence_Angle_List><Mean_Viewing_Incidence_Angle bandId="0">
      <ZENITH_ANGLE unit="deg">8.1</ZENITH_ANGLE><AZIMUTH_ANGLE unit="deg">104.2</AZIMUTH_ANGLE>
    </Mean_Viewing_Incidence_Angle></Mean_Viewing_Incidence_Angle_List>
  </Tile_Angles></n1:Geometric_Info>
</n1:Level-{level[1:]}_Tile_ID>
"""


def make_hls(folder: Path, kind: str = "S30", stamp: str = "2023153T170851", tile: str = "15SWD") -> Path:
    """An HLS granule: reflectance 0.1 + 0.01 x band number, one row of fill, Fmask with one cloud."""
    key = f"HLS.{kind}.T{tile}.{stamp}.v2.0"
    transform = Affine(30, 0, 500000, 0, -30, 4200000)
    numbers = BANDS if kind == "S30" else ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B09", "B10", "B11")
    for index, band in enumerate(numbers):
        dn = np.full((20, 24), 1000 + 100 * index, np.int16)
        dn[0] = -9999
        path = write_raster(folder / key / f"{key}.{band}.tif", dn, transform, "EPSG:32615", nodata=-9999)
        with rasterio.open(path, "r+") as file:
            file.update_tags(MEAN_SUN_AZIMUTH_ANGLE="128.5", MEAN_SUN_ZENITH_ANGLE="22.5")
    fmask = np.full((20, 24), 64, np.uint8)
    fmask[5:8, 5:8] = 2
    fmask[0] = 255
    write_raster(folder / key / f"{key}.Fmask.tif", fmask, transform, "EPSG:32615", nodata=255)
    return folder / key


def make_landsat(folder: Path, number: int = 9, level: int = 2) -> Path:
    """A Landsat Collection 2 product: reflectance 0.1 + 0.05 x band number."""
    kind = "L2SP" if level == 2 else "L1TP"
    key = f"L{'C' if number > 7 else 'T'}0{number}_{kind}_190031_20230714_20230716_02_T1"
    transform = Affine(30, 0, 300000, 0, -30, 4700000)
    prefix = "SR_B" if level == 2 else "B"
    numbers = (1, 2, 3, 4, 5, 6, 7) if number > 7 else (1, 2, 3, 4, 5, 7)
    for band in numbers:
        reflectance = 0.1 + 0.05 * band
        dn = round((reflectance + 0.2) / 2.75e-5) if level == 2 else round((reflectance * 0.8 + 0.1) / 2e-5)
        array = np.full((20, 24), dn, np.uint16)
        array[0] = 0
        write_raster(folder / key / f"{key}_{prefix}{band}.TIF", array, transform, nodata=0)
    qa = np.full((20, 24), 21824, np.uint16)
    qa[5:8, 5:8], qa[0] = 22280, 1
    write_raster(folder / key / f"{key}_QA_PIXEL.TIF", qa, transform, nodata=1)
    write_raster(folder / key / f"{key}_ST_B10.TIF", np.full((20, 24), 44000, np.uint16), transform)
    (folder / key / f"{key}_MTL.txt").write_text(
        'GROUP = IMAGE_ATTRIBUTES\n  DATE_ACQUIRED = 2023-07-14\n  SCENE_CENTER_TIME = "09:51:23.1234560Z"\n'
        "  SUN_AZIMUTH = 136.87\n  SUN_ELEVATION = 53.1301\nEND_GROUP\n"
    )
    return folder / key


def make_planet(folder: Path, surface: bool = True, eight: bool = False) -> Path:
    """A PlanetScope scene with UDM2; a radiance product has its coefficients in the XML."""
    key, count = "20230714_095123_45_2486", 8 if eight else 4
    transform = Affine(3, 0, 300000, 0, -3, 4700000)
    array = np.stack([np.full((30, 30), 1000 + 500 * band, np.uint16) for band in range(count)])
    array[:, 0] = 0
    middle = f"_3B_AnalyticMS{'_SR' if surface else ''}{'_8b' if eight else ''}"
    write_raster(folder / f"{key}{middle}_clip.tif", array, transform, nodata=0)
    udm = np.zeros((8, 30, 30), np.uint8)
    udm[0] = 1
    udm[:, 5:8, 5:8] = 0
    udm[5, 5:8, 5:8] = 1
    write_raster(folder / f"{key}_3B_udm2_clip.tif", udm, transform)
    coefficients = "".join(
        f"<ps:bandSpecificMetadata><ps:bandNumber>{band}</ps:bandNumber>"
        f"<ps:reflectanceCoefficient>{2e-5 * band}</ps:reflectanceCoefficient></ps:bandSpecificMetadata>"
        for band in range(1, count + 1)
    )
    (folder / f"{key}_3B_AnalyticMS_metadata.xml").write_text(
        "<ps:EarthObservation><eop:acquisitionDate>2023</eop:acquisitionDate><ps:acquisitionDateTime>2023-07-14T09:51:23+00:00"
        '</ps:acquisitionDateTime><opt:illuminationAzimuthAngle uom="deg">135.5</opt:illuminationAzimuthAngle>'
        f'<opt:illuminationElevationAngle uom="deg">60.25</opt:illuminationElevationAngle>{coefficients}'
        "</ps:EarthObservation>"
    )
    return folder


def make_stac(
    folder: Path,
    names: Mapping[str, str],
    dn: Mapping[str, int],
    item: Mapping[str, object] | None = None,
    prefix: str = "",
    scale: float | None = None,
    offset: float = 0.0,
) -> Path:
    """Loose band files of one scene, called ``prefix`` + ``names[key]``, an item of some properties beside them."""
    transform = Affine(10, 0, 300000, 0, -10, 4700000)
    rng = np.random.default_rng(5)
    for name, value in ((names[key], dn[key]) for key in names):
        noise = rng.integers(0, 60, (40, 40))
        array = np.full((40, 40), 4, np.uint8) if name in ("scl", "SCL") else (value + noise).astype(np.uint16)
        path = write_raster(folder / f"{prefix}{name}.tif", array, transform, nodata=0)
        if scale is not None and array.dtype == np.uint16:
            with rasterio.open(path, "r+") as file:
                file.scales, file.offsets = (scale,), (offset,)
    if item is not None:
        properties = {"datetime": "2023-07-14T10:05:59.024Z", "platform": "sentinel-2a", **item}
        feature = {
            "type": "Feature",
            "id": "S2A_33TUG_20230714_0_L2A",
            "collection": "sentinel-2-l2a",
            "properties": properties,
        }
        (folder / "item.json").write_text(json.dumps({**feature, "assets": {name: {} for name in names.values()}}))
    return folder
