"""StarCraft micromanagement as tensor operations: the `builtin` battle simulator with the contract of smacv2."""
