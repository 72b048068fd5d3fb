"""A highway with many lanes and drivers of several kinds, after highway-env and iPLAN."""
