"""Clouds and shadows: probabilities, classes, and the masks made of them (``detect.detect_scene``)."""
