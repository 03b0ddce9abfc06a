"""What a person reads: rows of text, tables, progress bars."""
