"""Workloads: what is asked of a storage system, synthetic or read from a trace."""
