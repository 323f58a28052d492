"""Floor 4: the Processing algorithms, one a file, named as its id. Parameters in, one job down, layers out."""
