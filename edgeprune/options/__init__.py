"""Options as records: each field carries its default, its help, its group and its check, once; and their bounds."""
