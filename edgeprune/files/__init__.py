"""Files: written under a temporary name and renamed, read within bounds, locked."""
