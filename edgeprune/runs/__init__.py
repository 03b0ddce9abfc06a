"""The run folder: its files, what reads them, and a run held against limits."""
