"""Methods on the parameter stack: one file per method family."""
