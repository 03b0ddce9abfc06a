"""A run watched while it trains: its page in a browser on this machine, kept up to date, and steering from there.

state.py    what a run is doing: waiting to start, under way, stopped or finished
parts.py    the page of a run that is not finished
live.py     the page in parts, each with the number of its version
serving.py  the HTTP server: the page, what has changed of it, and steering
page/       what the page has beyond that of a report: JavaScript and CSS
"""
