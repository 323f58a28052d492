"""Makes the zip for the plugin site: one folder with the plugin, its metadata.txt, LICENSE and README.

Only what git tracks goes in, as it is in the last commit, so neither caches nor forgotten files can slip in.
"""

from __future__ import annotations

import argparse
import configparser
import io
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLUGIN = "cloud_removal_plugin"
BESIDE = ("metadata.txt", "LICENSE", "README.md", "CHANGELOG.md")
REFUSED_SUFFIXES = (
    ".pyc", ".pyo", ".so", ".dll", ".pyd", ".dylib", ".exe", ".sh", ".bat", ".safetensors", ".pt", ".pth",
)  # fmt: skip
MOST_BYTES = 25 * 1024 * 1024
_EPOCH = (1980, 1, 1, 0, 0, 0)


def committed(root: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of what ships, from the last commit.

    Raises:
        RuntimeError: there is no commit, or one of the files is missing from it.
    """
    command = ["git", "-C", str(root), "archive", "--format=tar", "HEAD", PLUGIN, *BESIDE]
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
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard", PLUGIN, *BESIDE]
    listed = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    for name in sorted(set(listed.split("\0")) - {""}):
        if (root / name).is_file():
            yield name, (root / name).read_bytes()


def version(root: Path) -> str:
    """The version in metadata.txt."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(root / "metadata.txt", encoding="utf-8")
    return parser["general"]["version"]


def build(target: Path, files: Iterator[tuple[str, bytes]]) -> Path:
    """Writes the zip; the same files always give the same bytes.

    Raises:
        RuntimeError: a file that the plugin site refuses, or a zip above 25 MB.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in sorted(files):
            if name.endswith(REFUSED_SUFFIXES) or "__pycache__" in name:
                raise RuntimeError(f"{name} must not ship: the plugin site refuses such files.")
            inside = f"{PLUGIN}/{name}" if name in BESIDE else name
            entry = zipfile.ZipInfo(inside, _EPOCH)
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
