"""Processes that train together, and requests to stop."""
