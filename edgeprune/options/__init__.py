"""Bounds of options, and the checks against them."""
