"""What the regions of one run have shown of the published networks, so that a useless one is not tried everywhere.

To try networks costs a second fit of the scene ensemble and a few windows of each. One that helped in none of the last
regions is therefore passed over in the next one, then in the next two, four, eight; a region where it gets weight ends
that. It is never dropped for good: what is useless over fields may help over a town. Regions come in raster order, so
the verdicts are the same for any number of threads and any size of windows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PATIENCE = 3
"""Regions in a row without weight after which a network is passed over now and then."""
MOST_PASSED = 8
"""Regions that are passed over at a time, at most."""


@dataclass
class _Verdict:
    """Of one network: regions that tried it, gave it weight, passed it over; seconds and pixels of its trials."""

    tried: int = 0
    helped: int = 0
    passed: int = 0
    seconds: float = 0.0
    pixels: int = 0
    idle: int = 0
    wait: int = 0


@dataclass
class Verdicts:
    """The verdicts of one run.

    Attributes:
        spared: regions in which no network was due, so that the ensemble was not fitted a second time.
        blind_seconds: of the second fits that were made; blind_fits: how many.
        failed: sentences about networks that died, by name; they take no further part in the run.
    """

    failed: dict[str, str] = field(default_factory=dict)
    spared: int = 0
    blind_fits: int = 0
    blind_seconds: float = 0.0
    _of: dict[str, _Verdict] = field(default_factory=dict)

    def due(self, name: str) -> bool:
        """Whether the next region tries a network; asked once a region."""
        if name in self.failed:
            return False
        mine = self._of.setdefault(name, _Verdict())
        if mine.wait:
            mine.wait -= 1
            mine.passed += 1
            return False
        return True

    def record(self, name: str, helped: bool, seconds: float, pixels: int) -> None:
        """What a region found of a network that was due."""
        mine = self._of.setdefault(name, _Verdict())
        mine.tried += 1
        mine.seconds += seconds
        mine.pixels += pixels
        if helped:
            mine.helped += 1
            mine.idle = 0
            return
        mine.idle += 1
        if mine.idle >= PATIENCE:
            mine.wait = min(2 ** (mine.idle - PATIENCE), MOST_PASSED)

    def count_blind(self, seconds: float) -> None:
        """One more second fit of the ensemble was made."""
        self.blind_fits += 1
        self.blind_seconds += seconds

    def account(self, titles: dict[str, str], hidden: int) -> list[str]:
        """Sentences on what trying first has saved, after the last region.

        Args:
            titles: of the networks, by name.
            hidden: pixels to restore in the scene.
        """
        said = [_sentence(titles[name], mine, hidden) for name, mine in self._of.items() if mine.tried]
        if self.spared and self.blind_fits:
            saved = self.spared * self.blind_seconds / self.blind_fits
            said.append(
                f"{_count(self.spared, 'region')} tried no network and fitted the ensemble once instead of twice, "
                f"which saved about {_time(saved)}."
            )
        return said


def _sentence(title: str, mine: _Verdict, hidden: int) -> str:
    """What became of one network, and about how long it would have run where it did not."""
    elsewhere = 1 - mine.helped / (mine.tried + mine.passed)
    saved = mine.seconds / max(mine.pixels, 1) * hidden * elsewhere
    passed = f", and {_count(mine.passed, 'region')} passed it over" if mine.passed else ""
    rest = f" Not running it elsewhere saved about {_time(saved)}." if elsewhere > 0 else ""
    return (
        f"{title} was tried in {_count(mine.tried, 'region')} on {mine.pixels} pixels in {_time(mine.seconds)}; it "
        f"lowers the error in {mine.helped} of them{passed}.{rest}"
    )


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"


def _time(seconds: float) -> str:
    """Seconds in words that fit their size."""
    for length, word in ((3600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {word}"
    return f"{seconds:.0f} s"
