"""Weights of the published networks: which exist, where the analyst's lie, what a stored file holds.

Standard library only: QGIS and the worker both read it.
"""
