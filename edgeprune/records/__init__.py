"""What every file that edgeprune reads must hold: a schema for each, and the one function that checks it.

checking.py  a value or a JSON file against its schema; the message names file, field and what to do
fields.py    kinds of fields that several schemas share, with their ranges
runs.py      a run folder: configuration, model, keep-plans, summary, times, lines of metrics, checkpoint
export.py    an export's record
bench.py     a measurement, the rounds of one under way
tables.py    latency tables
profiles.py  device profiles

A schema lists what is read, not all that is written: unknown keys pass, so that a file of an edgeprune that
writes more still loads. A file whose ``schema`` number is newer than known is refused.
"""

from edgeprune.records.checking import check, check_schema, good_lines, read_record

__all__ = ["check", "check_schema", "good_lines", "read_record"]
