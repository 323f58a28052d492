"""Judges a restoration: measures as each paper defines them, calibration, figures, plots and reports."""
