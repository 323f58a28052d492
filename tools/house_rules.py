"""The rules of this repository that no general linter knows; ``make lint`` prints what breaks them, a test holds them.

Shipped code (``cloud_removal_plugin/``) must also pass the plugin site's scan: no assertion, no silent except, no eval.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "cloud_removal_plugin"
MOST_LINES = 420
TEXT_SUFFIXES = {".py", ".md", ".txt", ".toml", ".sh", ".json", ".cpp", ".h", ".cu", ".svg", ".yml", ""}

# Absolute paths of one machine, and marks of unfinished work, in any text of the repository.
_MACHINE_PATH = re.compile(r"(?<![\w.$}~/:-])/(?:home|root|work|opt|mnt|Users|data)/[\w.]")
_UNFINISHED = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X)\b")
_SECRET = re.compile(
    r"AKIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY|gh[pousr]_[A-Za-z0-9]{30,}|hf_[A-Za-z0-9]{30,}"
    r"|(?i:api[_-]?key|password|secret)\s*[:=]\s*[\"'][^\"'\s]{8,}[\"']"
)
_BANNED_NAMES = {"utils", "helpers", "common", "misc"}
_BANNED_CALLS = {"eval", "exec", "print", "__import__"}


def tracked_files(root: Path = ROOT) -> list[Path]:
    """Files that git knows or would add (ignored ones left out), sorted; text and binary."""
    listed = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True, check=True,
    ).stdout.decode()  # fmt: skip
    paths = (root / name for name in set(listed.split("\0")) if name)
    return sorted(path for path in paths if path.is_file() and not path.is_symlink())


def check_text(path: Path, text: str) -> Iterator[str]:
    """Complaints about any text file."""
    for number, line in enumerate(text.splitlines(), start=1):
        where = f"{path.relative_to(ROOT)}:{number}"
        if _MACHINE_PATH.search(line) and not line.startswith("#!"):
            yield f"{where}: a path of one machine"
        if _UNFINISHED.search(line):
            yield f"{where}: unfinished work; do it or open an issue"
        if _SECRET.search(line):
            yield f"{where}: looks like a secret"


def _swallows(handler: ast.ExceptHandler) -> bool:
    broad = isinstance(handler.type, ast.Name) and handler.type.id in ("Exception", "BaseException")
    return broad and all(isinstance(step, ast.Pass | ast.Continue) for step in handler.body)


def check_shipped(path: Path, text: str) -> Iterator[str]:
    """Complaints about one Python file of the package."""
    where = path.relative_to(ROOT)
    if path.stem in _BANNED_NAMES:
        yield f"{where}: a file name that says nothing"
    if (lines := text.count("\n")) > MOST_LINES:
        yield f"{where}: {lines} lines; a file longer than about 400 is two rooms"
    tree = ast.parse(text, str(path))
    if not ast.get_docstring(tree) and text.strip():
        yield f"{where}: no docstring"
    for node in ast.walk(tree):
        line = f"{where}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Assert):
            yield f"{line}: assert in shipped code"
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield f"{line}: bare except"
        if isinstance(node, ast.ExceptHandler) and _swallows(node):
            yield f"{line}: any exception is swallowed; the plugin site refuses that"
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            if any(name.split(".")[0] in {"pickle", "cPickle", "marshal", "shelve"} for name in names):
                yield f"{line}: pickle in shipped code"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            allowed = {"print"} if path.name == "__main__.py" else set()
            if node.func.id in _BANNED_CALLS - allowed:
                yield f"{line}: {node.func.id}() in shipped code"


def complaints() -> list[str]:
    """Everything that breaks a rule, one line each."""
    found: list[str] = []
    for path in tracked_files():
        if path.suffix.lower() not in TEXT_SUFFIXES or path.name == "LICENSE":
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += check_text(path, text)
        if path.suffix == ".py" and PACKAGE in path.parents:
            found += check_shipped(path, text)
    return found


def main() -> int:
    """Prints the complaints; status 1 where there are any."""
    found = complaints()
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
