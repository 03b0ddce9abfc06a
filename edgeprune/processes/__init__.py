"""Processes that train together, requests to stop, and reports of progress."""
