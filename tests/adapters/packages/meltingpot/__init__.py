"""Stands in for Melting Pot: the same calls, on the dm_env contract, with a small game behind them."""
