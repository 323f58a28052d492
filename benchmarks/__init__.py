"""What ``make bench`` runs: accuracy on real scenes, and ratios side by side in one run."""
