"""Which deliveries a preparation takes, of which bands: one pass, one sensor, one level, each tile once."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace

from ..errors import InputError
from ..raster.dates import find_date
from ..raster.delivery import Delivery, Plane
from ..raster.reader import LIKE
from .progress import Log

MOST_LISTED = 12
"""Acquisitions that a sentence names."""

NUMBERS: tuple[str, ...] = ("applied", "recorded")
"""What becomes of an offset: subtracted from the numbers, or left in them and written into the file."""


@dataclass(frozen=True)
class Settings:
    """What an analyst asks of a stack.

    Attributes:
        bands: names or roles, separated by commas or blanks; '' = all.
        date: of the acquisition wanted, '' = the only one.
        numbers: one of :data:`NUMBERS`.
        pixel: size in metres, 0 = of the finest band.
        extent_crs: WKT or authority code of the job's extent, '' = that of the product.
    """

    bands: str = ""
    date: str = ""
    numbers: str = "applied"
    pixel: float = 0.0
    extent_crs: str = ""

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """Read the settings of a job.

        Raises:
            InputError: not JSON, an unknown key, a wrong type or value.
        """
        try:
            raw = json.loads(text or "{}")
            known = {item.name: item.default for item in fields(cls)}
            fine = isinstance(raw, dict) and all(
                isinstance(value, (int, float) if key == "pixel" else str) for key, value in raw.items() if key in known
            )
            if not fine or set(raw) - set(known):
                raise ValueError(f"expected an object of {', '.join(known)}")
        except ValueError as error:
            raise InputError(f"The settings of the job are not usable ({error}).") from error
        settings = cls(**raw)
        if settings.numbers not in NUMBERS:
            raise InputError(f"'numbers' is '{settings.numbers}'. Use one of: {', '.join(NUMBERS)}.")
        if not 0 <= settings.pixel <= 10_000:
            raise InputError(f"A pixel of {settings.pixel:g} m is not possible. Use 0 for that of the finest band.")
        return settings

    def to_json(self) -> str:
        """The settings as JSON."""
        return json.dumps(asdict(self))


def one_pass(found: Sequence[Delivery], date: str, log: Log) -> list[Delivery]:
    """The deliveries of one acquisition: one sensor, level, platform and orbit on one day, each tile once.

    Args:
        found: at least one.
        date: the day wanted, '' = the only one.
        log: told what was left out.

    Raises:
        InputError: no delivery of that day, several passes, sensors or levels.
    """
    if date:
        day = find_date(date)
        if day is None:
            raise InputError(f"DATE '{date}' is not a date. Write it as 2024-06-10.")
        chosen = [delivery for delivery in found if delivery.when and delivery.when.date() == day]
        if not chosen:
            raise InputError(f"No product of {day.isoformat()} was found. There are: {_days(found)}.")
        found = chosen
    _one_day(found)
    for what, of in (
        ("sensors", lambda d: d.sensor),
        ("processing levels", lambda d: d.level),
        ("products", lambda d: d.product),
    ):
        several = sorted({of(delivery) or "unknown" for delivery in found})
        if len(several) > 1:
            raise InputError(f"The inputs hold several {what} ({', '.join(several)}). Give those of one kind.")
    passes = {(d.when.date() if d.when else None, d.platform, d.orbit) for d in found}
    if len(passes) > 1:
        raise InputError(
            f"The inputs hold {len(passes)} acquisitions ({_days(found)}). Choose a DATE, or give the products of one "
            "pass."
        )
    return _each_tile_once(found, log)


def _one_day(found: Sequence[Delivery]) -> None:
    """Products of several kinds and days are told apart by their dates first: DATE chooses."""
    products = sorted({(d.when.date() if d.when else None, d.product) for d in found}, key=str)
    days = {day for day, _ in products}
    if len(days) < 2 or len({product for _, product in products}) < 2:
        return
    named = _few([f"{day.isoformat() if day else 'no date'} {product}" for day, product in products])
    raise InputError(
        f"The inputs hold {len(products)} acquisitions ({named}). Choose a DATE, or give the products of one pass."
    )


def _days(found: Sequence[Delivery]) -> str:
    days = sorted({f"{d.when.date().isoformat()}{f' orbit {d.orbit}' if d.orbit else ''}" for d in found if d.when})
    return _few(days) or "no date"


def _few(texts: Sequence[str]) -> str:
    """A list for a sentence; of a whole season, the beginning."""
    more = len(texts) - MOST_LISTED
    return ", ".join(texts[:MOST_LISTED]) + (f" and {more} more" if more > 0 else "")


def _each_tile_once(found: Sequence[Delivery], log: Log) -> list[Delivery]:
    """Of a tile that came twice (reprocessed), the newest baseline."""
    newest: dict[str, Delivery] = {}
    for delivery in sorted(found, key=lambda d: (d.baseline, d.name)):
        key = delivery.tile or delivery.name
        if key in newest:
            older = newest[key]
            log("warning", f"Tile {key} is there twice; {delivery.name} is used, {older.name} is not.")
        newest[key] = delivery
    return [newest[key] for key in sorted(newest)]


def chosen_bands(delivery: Delivery, wanted: str) -> Delivery:
    """The delivery with the wanted bands alone, in the order asked for.

    Raises:
        InputError: a band is missing, or no product of this kind has it.
    """
    names = [part for part in re.split(r"[,;\s]+", wanted.strip()) if part]
    if not names:
        if delivery.missing:
            raise InputError(
                f"'{delivery.name}' lacks the bands {', '.join(delivery.missing)}. Fetch it again, or choose BANDS "
                f"among {', '.join(plane.name for plane in delivery.planes) or 'none'}."
            )
        if not delivery.planes:
            raise InputError(f"'{delivery.name}' holds no band. Fetch it again.")
        return delivery
    planes = [_called(delivery, name) for name in names]
    if len({plane.role for plane in planes}) < len(planes):
        raise InputError(f"BANDS names a band twice ({wanted.strip()}). Name each once.")
    return replace(delivery, planes=tuple(planes))


def with_offset(delivery: Delivery, offset: float) -> Delivery:
    """The delivery with a typed offset in reflectance, and without doubts about its own.

    Raises:
        InputError: no such offset is possible.
    """
    if not -1.0 <= offset <= 1.0:
        raise InputError(f"REFLECTANCE_OFFSET {offset:g} is not possible: it is reflectance, such as -0.1.")
    doubts = tuple(doubt for doubt in delivery.doubts if "REFLECTANCE_OFFSET" not in doubt)
    return replace(delivery, planes=tuple(replace(plane, offset=offset) for plane in delivery.planes), doubts=doubts)


def _called(delivery: Delivery, name: str) -> Plane:
    """A band by the product's name, with or without leading zero, or by its role; its only near infrared by either."""
    wanted = _plain(name)
    roles = {plane.role: plane for plane in delivery.planes}
    for plane in delivery.planes:
        if wanted in (_plain(plane.name), plane.role.lower()):
            return plane
    if LIKE.get(wanted) in roles:
        return roles[LIKE[wanted]]
    raise InputError(f"'{delivery.name}' lacks the band '{name}'. It has {_listing(delivery) or 'none'}.")


def _listing(delivery: Delivery) -> str:
    """Names of the bands, with their roles where these are other words."""
    return ", ".join(
        plane.name if plane.name == plane.role else f"{plane.name} ({plane.role})" for plane in delivery.planes
    )


def _plain(name: str) -> str:
    return re.sub(r"^(sr_)?b0?(\d)", r"b\2", name.lower())
