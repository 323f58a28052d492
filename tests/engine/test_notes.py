"""Folding of notes."""

from __future__ import annotations

from cloud_removal_plugin.engine.notes import folded


def test_equal_sentences_about_several_layers_are_said_once():
    notes = ["a.tif: read as HLS.", "Dates found.", "b.tif: read as HLS.", "b.tif: offset 0.", "Dates found."]
    assert folded(notes) == ["a.tif and 1 more: read as HLS.", "Dates found.", "b.tif: offset 0."]
