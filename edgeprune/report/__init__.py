"""Reports: all that is known of a run on one HTML page that needs nothing else."""
