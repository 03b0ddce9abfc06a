"""Damaged files, folders and options against every command: `make fuzz`; a quick part runs with the tests.

mutate.py    one seeded fault in a file: bytes, JSON values, safetensors, ONNX, text
options.py   command lines, whole and with one seeded fault
guard.py     what a case may do: nothing is executed, nothing is written elsewhere, nothing hangs
commands.py  cases over all commands, each in a fresh copy of small folders; how to repeat one
__main__.py  the command line of `make fuzz`
"""
