"""The multi-agent particle world (Lowe et al. 2017, arXiv 1706.02275) as tensor operations, and its tasks."""
