"""Set-up, packaging and the house rules. Nothing in here ships."""
