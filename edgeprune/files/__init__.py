"""Files written aside and renamed, read within bounds, and locked."""
