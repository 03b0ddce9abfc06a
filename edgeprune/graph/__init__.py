"""Channel labels flow over the record of a run: units that are pruned together, their cost, and the keep-plan."""
