"""Sensitivity: what a network's metric loses when a share of one group of channels is removed, group by group.

options.py    what is measured, and on how many images
subject.py    the network, its images and its folder, from what a command line names
measuring.py  point by point: exact removal, real evaluation; resumable
table.py      rows of text
"""
