"""The SMAC suite on StarCraft II: the packages smacv2 and smac as batches of rows, one game a process."""
