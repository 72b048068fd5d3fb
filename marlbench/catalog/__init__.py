"""Suites as typed YAML: tasks, protocols, matrices and the identity of a cell."""
