"""The projection of the store into MLflow."""
