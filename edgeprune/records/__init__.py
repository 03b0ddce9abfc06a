"""Schemas of all files that edgeprune reads, and the function that validates a file against its schema.

base.py       records: frozen, validated when they are read, written with the keys of the file
checking.py   validates a value or a JSON file; the message names file, field and remedy
fields.py     kinds of fields that several schemas share, with their ranges
runs.py       a run folder: configuration, model, keep-plans, summary, times, lines of metrics, checkpoint
export.py     an export's record
bench.py      a measurement
rounds.py     the rounds of one under way
comparison.py the result of a comparison, its log of attempts
search.py     the result of a search
pruning.py    a run that prunes a finished network
times.py      a smaller model's time beside the baseline's
tables.py     latency tables
profiles.py   device profiles

A schema lists the fields that are read, not all that are written: unknown keys are ignored, so that a file of an
edgeprune that writes more still loads. A file whose ``schema`` number is newer than known is refused.
"""

from edgeprune.records.checking import check, check_schema, good_lines, read_record

__all__ = ["check", "check_schema", "good_lines", "read_record"]
