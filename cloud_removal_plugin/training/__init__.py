"""Training: losses and recipes of the papers, an exact loop, predictions and figures on data sets."""
