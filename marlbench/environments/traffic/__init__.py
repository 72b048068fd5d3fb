"""Traffic: agents that are in each other's way."""
