"""Makes the zip for the plugin site: one folder with the plugin, its metadata.txt, LICENSE and README, and our weights.

Only what git tracks goes in, as it is in the last commit, so neither caches nor forgotten files can slip in. Weights go
in with their cards, up to 5 MB, and never those that learned from data whose licence forbids it.
"""

from __future__ import annotations

import argparse
import configparser
import io
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from cloud_removal_plugin.weights.shipped import CHECKOUT, INSTALLED

ROOT = Path(__file__).resolve().parent.parent
PLUGIN = "cloud_removal_plugin"
BESIDE = ("metadata.txt", "LICENSE", "README.md", "CHANGELOG.md")
REFUSED_SUFFIXES = (
    ".pyc", ".pyo", ".so", ".dll", ".pyd", ".dylib", ".exe", ".sh", ".bat", ".safetensors", ".pt", ".pth",
)  # fmt: skip
MOST_BYTES = 25 * 1024 * 1024
WEIGHTS = ".safetensors"
CARDS = (".json", ".md")
MOST_WEIGHTS_BYTES = 5_000_000
UNSHIPPABLE = re.compile(r"m3r[-_ ]?cr|earthnet|aligncr", re.IGNORECASE)
"""M3R-CR (and Align-CR, which learns from it) is for academic use only, EarthNet2021 is CC BY-NC-SA: weights that
learned from them are not ours to give away."""
_EPOCH = (1980, 1, 1, 0, 0, 0)


def committed(root: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of what ships, from the last commit.

    Raises:
        RuntimeError: there is no commit, or one of the files is missing from it.
    """
    command = ["git", "-C", str(root), "archive", "--format=tar", "HEAD", PLUGIN, CHECKOUT, *BESIDE]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"git archive failed: {done.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        for member in archive.getmembers():
            content = archive.extractfile(member) if member.isfile() else None
            if content:
                yield member.name, content.read()


def working_tree(root: Path) -> Iterator[tuple[str, bytes]]:
    """The same from the working tree: what git tracks or would add."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard", PLUGIN, CHECKOUT,
               *BESIDE]  # fmt: skip
    listed = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    for name in sorted(set(listed.split("\0")) - {""}):
        if (root / name).is_file():
            yield name, (root / name).read_bytes()


def version(root: Path) -> str:
    """The version in metadata.txt."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(root / "metadata.txt", encoding="utf-8")
    return parser["general"]["version"]


def facts_of(content: bytes) -> dict[str, str]:
    """The text in the header of a safetensors file (https://huggingface.co/docs/safetensors).

    Raises:
        RuntimeError: it is no such file.
    """
    try:
        length = int.from_bytes(content[:8], "little")
        facts = json.loads(content[8 : 8 + length])["__metadata__"]
    except (ValueError, KeyError, TypeError) as error:
        raise RuntimeError(f"Weights without a readable header ({error}).") from error
    return {str(key): str(value) for key, value in facts.items()}


def shippable_weights(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Of the files in the weights folder those that ship, under their names in the zip.

    Raises:
        RuntimeError: weights without a card, of data that may not be passed on, or more than 5 MB.
    """
    chosen: dict[str, bytes] = {}
    for name, content in files.items():
        if not name.endswith(WEIGHTS):
            continue
        stem = name.removesuffix(WEIGHTS)
        cards = [stem + suffix for suffix in CARDS if stem + suffix in files]
        if not cards:
            raise RuntimeError(f"{name} has no card ({stem}.json or {stem}.md); weights ship with their figures only.")
        odd = [f"{key}: {value}" for key, value in facts_of(content).items() if UNSHIPPABLE.search(f"{key} {value}")]
        if odd:
            raise RuntimeError(f"{name} must not ship: its data may not be passed on ({odd[0]}).")
        chosen |= {part: files[part] for part in (name, *cards)}
    size = sum(len(content) for name, content in chosen.items() if name.endswith(WEIGHTS))
    if size > MOST_WEIGHTS_BYTES:
        raise RuntimeError(f"The weights have {size / 1e6:.1f} MB; {MOST_WEIGHTS_BYTES / 1e6:.0f} may ship.")
    return {f"{PLUGIN}/{INSTALLED}{name.removeprefix(CHECKOUT)}": content for name, content in chosen.items()}


def _contents(files: Iterator[tuple[str, bytes]]) -> dict[str, bytes]:
    """What goes into the zip, by its name there."""
    plain: dict[str, bytes] = {}
    weights: dict[str, bytes] = {}
    for name, content in files:
        if name.startswith(f"{CHECKOUT}/"):
            weights[name] = content
        elif name.endswith(REFUSED_SUFFIXES) or "__pycache__" in name:
            raise RuntimeError(f"{name} must not ship: the plugin site refuses such files.")
        else:
            plain[f"{PLUGIN}/{name}" if name in BESIDE else name] = content
    return plain | shippable_weights(weights)


def build(target: Path, files: Iterator[tuple[str, bytes]]) -> Path:
    """Writes the zip; the same files always give the same bytes.

    Raises:
        RuntimeError: a file that the plugin site refuses, weights that must not ship, or a zip above 25 MB.
    """
    contents = _contents(files)
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in sorted(contents.items()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    if target.stat().st_size > MOST_BYTES:
        raise RuntimeError(f"{target} has {target.stat().st_size / 1e6:.0f} MB; the plugin site takes 25.")
    return target


def main() -> int:
    """Parses the command line and writes the zip."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--working-tree", action="store_true", help="what lies here now instead of the last commit")
    options = parser.parse_args()
    target = ROOT / "build" / f"{PLUGIN}-{version(ROOT)}.zip"
    try:
        build(target, working_tree(ROOT) if options.working_tree else committed(ROOT))
    except RuntimeError as error:
        print(f"[package] {error}", file=sys.stderr)
        return 1
    with zipfile.ZipFile(target) as archive:
        count = len(archive.namelist())
    print(f"[package] {target}: {count} files, {target.stat().st_size / 1024:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
