"""int8 of an ONNX graph after training: ranges, equalisation, bias correction, sensitivity, Q/DQ nodes.

layers.py        the layers that int8 is for, with what they read
running.py       a graph run by ONNX Runtime: any of its tensors, whole or piece by piece
ranges.py        the range of each tensor over images
equalizing.py    ranges of channels made equal, exactly
placing.py       where a runtime wants Q/DQ nodes
qdq.py           Q/DQ nodes written into a graph
guarding.py      layers that ONNX Runtime must not round
correcting.py    biases that take back the mean error of int8
trained.py       constants and ranges of quantisation-aware training
sensitivity.py   the error that each layer causes alone, and which layers stay in float
"""
