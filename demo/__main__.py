"""``make demo``: removes the clouds of a made-up scene, or of the user's own with ``DATA=folder``."""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import rasterio

from demo import own, picture, scene, scores
from demo.process import ProcessError, run_algorithm

ROOT = Path(__file__).resolve().parent.parent
ALGORITHM = "cloudremoval:removeclouds"
RGB = (4, 3, 2)


def say(text: str = "") -> None:
    print(text, flush=True)


def _echo(line: str) -> None:
    say(f"    {line}")


def made_up_scene(folder: Path, seed: int) -> scene.SceneFiles:
    """Writes the scene, or finds it written by an earlier run of the same code and seed."""
    sources = b"".join(path.read_bytes() for path in sorted((ROOT / "demo").glob("*.py")))
    fingerprint = hashlib.sha256(sources + str(seed).encode()).hexdigest()
    stamp = folder / "made_by"
    record = folder / "scene.json"
    if record.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == fingerprint:
        say(f"[demo] The scene is there already: {folder}")
        fields = json.loads(record.read_text(encoding="utf-8"))
        return scene.SceneFiles(**fields | {"optical": tuple(fields["optical"]), "masks": tuple(fields["masks"])})
    say("[demo] Making a scene: 1024 x 1024 pixels, 13 bands, 6 dates, Sentinel-1 (about 20 s, once)")
    shutil.rmtree(folder, ignore_errors=True)
    files = scene.write(scene.simulate(1024, seed, report=_echo), folder)
    stamp.write_text(fingerprint, encoding="utf-8")
    return files


def remove_clouds(parameters: list[tuple[str, str]], folder: Path, stem: str) -> tuple[dict[str, str], float]:
    """Runs the algorithm with all its rasters written to ``folder``; returns its results and the seconds it took."""
    outputs = {key: folder / f"{stem}_{key.lower()}.tif" for key in ("OUTPUT", "UNCERTAINTY", "CLOUDS")}
    for path in outputs.values():
        path.unlink(missing_ok=True)
    say(f"[demo] Running {ALGORITHM} through qgis_process in a profile of its own")
    began = time.monotonic()
    results = run_algorithm(ALGORITHM, [*parameters, *((key, str(path)) for key, path in outputs.items())], _echo)
    seconds = time.monotonic() - began
    missing = [str(path) for path in outputs.values() if not path.exists()]
    if missing:
        raise ProcessError(f"{ALGORITHM} ended without error but did not write {', '.join(missing)}.")
    return results | {key: str(path) for key, path in outputs.items()}, seconds


def read(path: str, scale: float | None = None) -> np.ndarray:
    """float32 (C, H, W) in reflectance, NaN = no data."""
    with rasterio.open(path) as file:
        values = np.ma.filled(file.read(masked=True).astype(np.float32), np.nan)
        factor = scale if scale is not None else float(file.scales[0])
    if factor == 1.0 and np.nanmax(values) > 20:
        factor = 1e-4
    return values * np.float32(factor)


def _rgb_bands(count: int) -> list[int]:
    return [b - 1 for b in RGB] if count >= 4 else [min(b, count - 1) for b in range(3)]


_RESULTS = {"METHOD_USED": None, "CLOUD_SHARE": ".1%", "RESTORED_SHARE": ".1%", "EXPECTED_RMSE": ".4f"}
"""What is told of a run, and how: shares in percent, the error in reflectance."""


def _numbers(results: dict[str, str], seconds: float) -> None:
    for key, form in _RESULTS.items():
        if results.get(key, "") not in ("", "None", "NULL"):
            value = results[key] if form is None else format(float(results[key]), form)
            say(f"  {key.lower().replace('_', ' '):<18} {value}")
    own_time = f", of which {float(results['SECONDS']):.0f} s the job itself" if results.get("SECONDS") else ""
    say(f"  {'time':<18} {seconds:.0f} s{own_time}")


def _print_files(results: dict[str, str], png: Path) -> None:
    say()
    for name, key in (("result", "OUTPUT"), ("uncertainty", "UNCERTAINTY"), ("clouds found", "CLOUDS")):
        say(f"  {name:<18} {results[key]}")
    say(f"  {'picture':<18} {png}")


def demo_made_up(seed: int, chart: Path | None) -> None:
    """The made-up scene: restore, compare with the truth and with interpolation in time, draw."""
    folder = ROOT / "build" / "demo"
    files = made_up_scene(folder / "scene", seed)
    target, dates = files.target, [Path(path).stem[3:] for path in files.optical]
    others = [path for index, path in enumerate(files.optical) if index != target]
    parameters = [("INPUT", files.optical[target]), *(("OTHER_DATES", p) for p in others), ("RADAR", files.radar)]
    results, seconds = remove_clouds(parameters, folder, "restored")
    truth, restored = read(files.truth), read(results["OUTPUT"])
    sigma = read(results["UNCERTAINTY"], 1 / scene.DN_PER_REFLECTANCE)
    classes = read(results["CLOUDS"], 1.0)[0]
    found = (classes == 1) | (classes == 2)
    hidden = np.stack([read(path, 1.0)[0] > 0 for path in files.masks])
    days = [float(np.datetime64(date).astype(int)) for date in dates]
    series = np.stack([read(path) for path in files.optical])
    line = scores.interpolate_in_time(series, hidden, days, target)
    judged = hidden[target] & found & np.isfinite(line).all(axis=0)
    ours, theirs = scores.Score.of(restored, truth, judged), scores.Score.of(line, truth, judged)
    within = scores.coverage(restored, sigma, truth, found & hidden[target])
    png = chart or folder / "demo.png"
    _draw_made_up(png, dates[target], series[target], restored, truth, sigma, found, (ours, theirs))
    _print_files(results, png)
    _numbers(results, seconds)
    _print_scores(ours, theirs, within, hidden[target], found, scores.Score.of(restored, truth, hidden[target]))


def _print_scores(
    ours: scores.Score,
    theirs: scores.Score,
    within: float,
    hidden: np.ndarray,
    found: np.ndarray,
    everywhere: scores.Score,
) -> None:
    caught = (found & hidden).sum() / hidden.sum()
    extra = (found & ~hidden).sum() / (~hidden).sum()
    rows = (("restored", ours), ("linear interpolation in time, told the true masks", theirs))
    say()
    say("  Error against the truth where clouds or shadows were found, all 13 bands")
    say(f"    {'':<52}{'MAE':<10}PSNR")
    for name, score in rows:
        say(f"    {name:<52}{score.mae:<10.4f}{score.psnr:.2f} dB")
    say(f"    {'difference':<62}{ours.psnr - theirs.psnr:+.2f} dB")
    say(f"  The 90 % interval holds the truth for {within:.1%} of the restored values.")
    say(f"  Hidden are {hidden.mean():.1%} of the scene. The detection found {caught:.1%} of that,")
    say(f"  and took {extra:.1%} of what was clear with it (its margin included).")
    say(f"  Overlooked pixels counted as well: MAE {everywhere.mae:.4f}, PSNR {everywhere.psnr:.2f} dB.")


def _draw_made_up(
    png: Path,
    date: str,
    cloudy: np.ndarray,
    restored: np.ndarray,
    truth: np.ndarray,
    sigma: np.ndarray,
    found: np.ndarray,
    compared: tuple[scores.Score, scores.Score],
) -> None:
    bands = _rgb_bands(truth.shape[0])
    low, high = picture.stretch(truth[bands], np.ones_like(found))
    error = np.where(found, np.abs(restored - truth).mean(axis=0), np.nan)
    spread = np.where(found, np.nanmean(np.where(np.isfinite(sigma), sigma, np.nan), axis=0), np.nan)
    limit = float(np.nanpercentile(np.concatenate([error[found], spread[found]]), 98))
    ours, theirs = compared
    panels = [
        picture.Panel("Cloudy", f"Sentinel-2, {date}", picture.colours(cloudy[bands], low, high)),
        picture.Panel("Restored", "from five other dates and Sentinel-1", picture.colours(restored[bands], low, high)),
        picture.Panel("Truth", "the same day without clouds", picture.colours(truth[bands], low, high)),
        picture.Panel("Error", f"MAE {ours.mae:.4f}; interpolation in time {theirs.mae:.4f}", error, limit),
        picture.Panel("Uncertainty", "one standard deviation, as the plugin states it", spread, limit),
    ]
    caption = "10 m pixels, true colours, one stretch for all. The plugin found the clouds and shadows by itself."
    picture.draw(png, panels, found, "Cloud Removal on a made-up scene", caption)


def demo_own(data: Path, chart: Path | None) -> None:
    """The user's own scenes: restore the cloudiest date that can be restored, draw."""
    scenes = own.find(data)
    date = str(scenes.dates[0])
    folder = ROOT / "build" / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    masks = ", with the masks of the folder" if scenes.masks else ""
    say(f"[demo] {data}: {len(scenes.dates)} dates; {date} is restored, about {scenes.hidden_share:.0%} hidden{masks}")
    parameters = [("INPUT", scenes.optical[0]), *(("OTHER_DATES", path) for path in scenes.optical[1:])]
    if scenes.radar:
        parameters.append(("RADAR", scenes.radar))
    if scenes.masks:
        parameters += [("CLOUD_MASK", scenes.masks[0]), *(("OTHER_MASKS", path) for path in scenes.masks[1:])]
    parameters.append(("DATES", ";".join(str(day) for day in scenes.dates)))
    results, seconds = remove_clouds(parameters, folder, f"{data.resolve().name}_{date}")
    png = chart or folder / f"{data.resolve().name}_{date}.png"
    _draw_own(png, scenes, results)
    _print_files(results, png)
    _numbers(results, seconds)


def _draw_own(png: Path, scenes: own.OwnScenes, results: dict[str, str]) -> None:
    cloudy, restored, sigma = (read(path) for path in (scenes.optical[0], results["OUTPUT"], results["UNCERTAINTY"]))
    found = np.isin(read(results["CLOUDS"], 1.0)[0], (1, 2))
    bands = _rgb_bands(cloudy.shape[0])
    low, high = picture.stretch(restored[bands], np.isfinite(restored[bands]).all(axis=0))
    spread = np.where(found, np.nanmean(sigma, axis=0), np.nan)
    limit = float(np.nanpercentile(spread[found], 98)) if np.isfinite(spread[found]).any() else 0.1
    source = f"from {len(scenes.dates) - 1} other dates" + (" and Sentinel-1" if scenes.radar else "")
    expected = results.get("EXPECTED_RMSE", "")
    note = (
        f"expected error (RMSE) {float(expected):.4f}" if expected not in ("", "None", "NULL") else "standard deviation"
    )
    panels = [
        picture.Panel("Cloudy", Path(scenes.optical[0]).name, picture.colours(cloudy[bands], low, high)),
        picture.Panel("Restored", source, picture.colours(restored[bands], low, high)),
        picture.Panel("Uncertainty", note, spread, limit),
    ]
    picture.draw(png, panels, found, f"Cloud Removal, {scenes.dates[0]}", "True colours, one stretch for both.")


def main() -> int:
    """Parses the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of dated GeoTIFFs of one place")
    parser.add_argument("--seed", type=int, default=7, help="another seed makes another scene")
    parser.add_argument("--picture", type=Path, help="where to write the PNG")
    options = parser.parse_args()
    began = time.monotonic()
    try:
        if options.data:
            demo_own(options.data, options.picture)
        else:
            demo_made_up(options.seed, options.picture)
    except (ProcessError, ValueError, OSError) as error:
        say(f"[demo] {error}")
        return 1
    say(f"[demo] Done in {time.monotonic() - began:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
