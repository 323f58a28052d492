"""Readers of the public data sets and of the analyst's own scenes, as PyTorch data sets."""
