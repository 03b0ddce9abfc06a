"""`train-prune`: options, stages, budgets and the summary of a run."""
