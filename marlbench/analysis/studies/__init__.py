"""Verdicts of studies: what cells say of the claims of the literature."""
