"""JaxMARL's SMAX (Rutherford et al. 2023) as a batch of rows: another task than SMAC, and its results are its own."""
