"""The published networks, weight for weight. Importing this package does not import torch."""

from __future__ import annotations

from .records import Record
from .registry import create, names, record

__all__ = ["Record", "create", "names", "record"]
