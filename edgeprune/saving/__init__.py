"""A pruned network as one file: weights, keep-plans and, where it can be written down, its graph."""
