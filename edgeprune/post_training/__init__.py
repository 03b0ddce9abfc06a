"""Post-training pruning: a finished network, some unlabelled inputs, and no training code.

options.py      what can be asked for
inputs.py       images, arrays or a factory to batches of the network's input
agreement.py    how far two networks give the same
selection.py    which channels go: each group's effect on the outputs
pruning.py      the steps of a run on an ONNX file
report.py       the result as JSON and as rows of text
"""
