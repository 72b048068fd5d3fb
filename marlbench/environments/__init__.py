"""Batched environments: the contract, and the simulators that are ours."""
