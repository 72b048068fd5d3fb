"""marlbench: a benchmark harness for multi-agent reinforcement learning."""

__version__ = "0.1.0"
