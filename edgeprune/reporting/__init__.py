"""Output for users: rows of text, tables, progress."""
