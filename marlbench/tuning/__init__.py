"""Choosing hyperparameters with a stated budget, on seeds of their own."""
