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
    """Of one network: regions that tried it, gave it weight, passed it over; seconds of its trials."""

    tried: int = 0
    helped: int = 0
    passed: int = 0
    seconds: float = 0.0
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

    def record(self, name: str, helped: bool, seconds: float) -> None:
        """What a region found of a network that was due."""
        mine = self._of.setdefault(name, _Verdict())
        mine.tried += 1
        mine.seconds += seconds
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

    def account(self, titles: dict[str, str]) -> list[str]:
        """Sentences on what was passed over and what that saved, after the last region.

        Args:
            titles: of the networks, by name.
        """
        said = []
        for name, mine in self._of.items():
            if mine.passed and mine.tried:
                saved = mine.passed * mine.seconds / mine.tried
                said.append(
                    f"{titles[name]} had weight in {mine.helped} of the {mine.tried} regions that tried it; "
                    f"{mine.passed} more passed it over, which saved about {saved:.0f} s."
                )
        if self.spared and self.blind_fits:
            saved = self.spared * self.blind_seconds / self.blind_fits
            said.append(
                f"{self.spared} regions tried no network and fitted the ensemble once instead of twice, which saved "
                f"about {saved:.0f} s."
            )
        return said
