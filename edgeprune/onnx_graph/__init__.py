"""Networks in ONNX files: read as modules that torch runs, and cut in the file itself.

files.py      the file: its tensors, wherever they lie; checked when read, written aside and renamed
ops.py        operators of ONNX as calls of torch
shapes.py     operators that move, pad and resize
layers.py     operators with weights
operands.py   what an operator is given: tensors, numbers, attributes
numbers.py    numbers that follow from sizes and constants alone
alone.py      operators that torch has no call for, run by ONNX Runtime
network.py    a module whose forward is the file's graph
values.py     labels and sizes of the file's values, by their names
cutting.py    a keep-plan applied to the file
edits.py      changes to a file's nodes and tensors
"""
