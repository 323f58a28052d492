"""The pages of the networks say what the records say."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud_removal_plugin.models.records import RECORDS
from cloud_removal_plugin.weights.known import of_network

PAGES = Path(__file__).resolve().parents[2] / "docs" / "models"
TEXTS = {page.name: page.read_text(encoding="utf-8") for page in PAGES.glob("*.md")}


@pytest.mark.parametrize("name", RECORDS)
def test_every_network_has_a_page_with_its_facts(name: str) -> None:
    record = RECORDS[name]
    texts = [text for file, text in TEXTS.items() if file != "index.md" and f"| `{name}`" in text]
    assert len(texts) == 1
    text = texts[0]
    for fact in (record.link, f"{record.parameters:,}".replace(",", " "), f"{record.gsd_m:g} m", f"{record.halo} px"):
        assert fact in text, fact
    assert f"fading over {record.fade} |" in text or not record.fade
    for entry in of_network(name):
        assert entry.file in text
        assert entry.address in text
        assert entry.licence in text
    assert not record.accuracy or (record.accuracy in text and record.accuracy_source in text)


def test_the_index_links_every_page() -> None:
    index = TEXTS["index.md"]
    assert all(f"]({file})" in index for file in TEXTS if file != "index.md")
    assert "models/index.md" in (PAGES.parent / "index.md").read_text(encoding="utf-8")
