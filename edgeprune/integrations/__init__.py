"""Trainers of other packages: thin callbacks that let a `Pruner` act in them."""
