"""Statistics and tables over the store."""
