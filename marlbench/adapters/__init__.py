"""Environments that are other libraries', behind the BatchedEnvironment contract."""
