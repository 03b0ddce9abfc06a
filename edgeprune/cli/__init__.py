"""The command line: parse, call one function, print. Heavy packages are imported by what is called.

base.py      the group of all commands, and what they share
options.py   options of a command, made from a record
commands.py  a command: help in groups, values checked
failures.py  one line for each mistake, with the options as they are typed
training.py  train-prune, steer
models.py    inspect, export
benching.py  bench
devices.py   devices, lut
comparing.py compare, verify
searching.py search
files.py     prune
reports.py   report, watch
judging.py   sensitivity
"""

from edgeprune.cli import benching, comparing, devices, files, judging, models, reports, searching, training
from edgeprune.cli.base import finished_run, free_place, latest_run, main

__all__ = [
    "benching",
    "comparing",
    "devices",
    "files",
    "finished_run",
    "free_place",
    "judging",
    "latest_run",
    "main",
    "models",
    "reports",
    "searching",
    "training",
]
