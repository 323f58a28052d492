"""Errors that an analyst can act on.

Every error that a job raises on purpose derives from :class:`CloudRemovalError`; its text is one or two
sentences that say what is wrong, with which layer, and what to do. The QGIS side shows the text as it is.
"""

from __future__ import annotations


class CloudRemovalError(Exception):
    """Base of every error that the plugin raises on purpose; the message is meant for the analyst."""


class InputError(CloudRemovalError):
    """A layer or parameter is missing, unreadable, or not what the job needs."""


class GridError(InputError):
    """Layers cannot be brought onto one grid (no overlap, no CRS on one side, rotated geotransform)."""


class DateError(InputError):
    """Acquisition dates are missing, unreadable, repeated, or of another number than the layers."""


class OutputError(CloudRemovalError):
    """A result cannot be written (no permission, disk full, equal to an input)."""


class DependencyError(CloudRemovalError):
    """A library that the chosen method needs is not installed in the interpreter that runs the job."""


class WorkerError(CloudRemovalError):
    """The worker process ended without a result."""


class Cancelled(Exception):
    """The analyst cancelled the job. Not an error: nothing was written, nothing is wrong."""


def root_cause(error: BaseException) -> BaseException:
    """What went wrong first: rasterio 1.4 says "see previous exception" and chains GDAL's own words behind it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def first_line(error: BaseException) -> str:
    """The first line of its root cause, to be put in brackets; at most 160 characters."""
    error = root_cause(error)
    text = str(error).strip().splitlines()
    return text[0][:160].rstrip(".") if text else type(error).__name__
