"""What starts jobs: processes and nothing more."""
