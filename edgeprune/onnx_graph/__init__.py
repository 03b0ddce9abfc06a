"""Networks in ONNX files: read as modules that torch runs, and cut in the file itself.

files.py      the file: its tensors, wherever they lie; checked when read, written aside and renamed
ops.py        operators of ONNX as calls of torch
shapes.py     operators that move, pad and resize
layers.py     operators with weights
operands.py   what an operator is given: tensors, numbers, attributes
numbers.py    numbers that follow from sizes and constants alone
alone.py      operators that torch has no call for, run by ONNX Runtime
node_modules.py  the modules of a file's nodes, and the constants that their weights were made of
network.py    a module whose forward is the file's graph
values.py     labels and sizes of the file's values, by their names
cutting.py    a keep-plan applied to the file
masking.py    the file with zeros where a keep-plan drops: what a cut file must compute the same as
edits.py      changes to a file's nodes and tensors
"""
