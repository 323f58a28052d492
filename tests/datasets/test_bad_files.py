"""Files that are missing, cut off or strange, reader by reader; and scans of many files."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="data sets are PyTorch data sets")

from cloud_removal_plugin.datasets import EarthNet2021, FileListTriplets, ScenesDataset
from cloud_removal_plugin.datasets import files as scanning
from cloud_removal_plugin.datasets.scenes import SceneFiles
from cloud_removal_plugin.errors import InputError
from tests.datasets.conftest import write_patch


def test_earthnet(cube_tree: Path, cache: Path, truncate: Callable[[Path], None]) -> None:
    first, second = sorted((cube_tree / "train" / "29SND").iterdir())
    truncate(first)
    second.with_name("notes.npz").write_bytes(second.read_bytes())
    with pytest.raises(InputError) as caught:
        EarthNet2021(cube_tree, "train", cache=cache)
    assert f"1 truncated (train/29SND/{first.name})" in str(caught.value)
    assert "1 extra (train/29SND/notes.npz)" in str(caught.value)
    rest = EarthNet2021(cube_tree, "train", on_problem="skip", cache=cache)
    assert (len(rest), rest.skipped) == (1, 2)
    second.write_bytes(second.read_bytes()[:-5])  # a zip lists its files at the end
    with pytest.raises(InputError, match="truncated"):
        EarthNet2021(cube_tree, "train", cache=cache)


def test_file_list(tmp_path: Path, cache: Path, truncate: Callable[[Path], None]) -> None:
    for name in ("a.tif", "b.tif", "c.tif"):
        write_patch(tmp_path / "s1" / name, 2, 1, "float32")
        write_patch(tmp_path / "s2_cloudFree" / name, 13, 2)
        write_patch(tmp_path / "s2_cloudy" / name, 13, 3)
    listing = tmp_path / "list.csv"
    listing.write_text("\n".join(f"1, s1, s2_cloudFree, s2_cloudy, {name}.tif" for name in "abcd"))
    truncate(tmp_path / "s2_cloudy" / "b.tif")
    with pytest.raises(InputError) as caught:
        FileListTriplets(tmp_path, listing, "train", cache=cache)
    assert "3 missing (s1/d.tif, s2_cloudFree/d.tif, s2_cloudy/d.tif)" in str(caught.value)
    assert "1 truncated (s2_cloudy/b.tif)" in str(caught.value)
    rest = FileListTriplets(tmp_path, listing, "train", on_problem="skip", cache=cache)
    assert (len(rest), rest.skipped) == (2, 4)


def test_own_scenes(tmp_path: Path, truncate: Callable[[Path], None]) -> None:
    clear, cloudy = str(tmp_path / "a_clear.tif"), str(tmp_path / "a_cloudy.tif")
    how = {"crop": 16, "reflectance_scale": 1e-4, "reflectance_offset": 0.0}
    write_patch(Path(clear), 13, 1, edge=32)
    with pytest.raises(InputError, match=r"a_cloudy\.tif"):
        ScenesDataset([SceneFiles(clear, cloudy)], **how)[0]
    write_patch(Path(cloudy), 13, 2, edge=32)
    ScenesDataset([SceneFiles(clear, cloudy)], **how)[0]
    truncate(Path(cloudy))
    with pytest.raises(InputError, match=r"a_cloudy\.tif"):
        ScenesDataset([SceneFiles(clear, cloudy)], clouds="real", **how)[0]


def test_many_files_are_looked_at_once(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, opened = tmp_path / "data", []
    write_patch(root / "one.tif", 1, 0)
    content = (root / "one.tif").read_bytes()
    for folder in range(20):
        (root / f"roi_{folder}").mkdir()
        for number in range(150):
            (root / f"roi_{folder}" / f"p_{number}.tif").write_bytes(content)
    look = scanning.is_whole
    monkeypatch.setattr(scanning, "is_whole", lambda path: opened.append(path) or look(path))
    first = scanning.scan(root, cache)
    assert (len(first.files), len(opened), first.cached) == (3001, 3001, False)
    opened.clear()
    started = time.process_time()
    again = scanning.scan(root, cache)
    assert again.cached
    assert (again.files, opened) == (first.files, [])
    assert time.process_time() - started < 1
    # one new file: its folder has changed, and only then all are looked at
    (root / "roi_7" / "new.tif").write_bytes(content[:50])
    later = scanning.scan(root, cache)
    assert (len(later.files), later.truncated) == (3002, frozenset({"roi_7/new.tif"}))
