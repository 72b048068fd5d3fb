"""Cells, jobs, locks, journals and index: the truth on disk."""
