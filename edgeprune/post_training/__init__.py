"""Post-training pruning: a finished network, some unlabelled inputs, and no training code.

options.py      what can be asked for
early_checks.py what makes no sense, found before torch is imported
source.py       inputs by position: images.py of a folder, arrays.py of files and factories
inputs.py       those that are fitted and compared on
changes.py      random changes of inputs
labels.py       accuracy, where some images are labelled
agreement.py    how far two networks give the same
selection.py    which channels go: each group's effect on the outputs
pruning.py      scores, widths and fits
curve.py        how far a network can go
latency.py      widths for a device, and smaller networks measured on it
norms.py        norms beside convolutions while they learn
distilling.py   label-free fine-tuning
subject.py      what is pruned, and the forms in which it is written
file_subject.py   ... an ONNX file: file_form.py, file_latency.py; exported.py makes one of a model's name
model_subject.py  ... a torch network itself
stages.py       the steps of a run, each done once
files.py        runs: begun, carried out, gone on with
checking.py     a file by ONNX Runtime against torch
exporting.py    the files of a run and their record
result.py       the result as JSON and as rows of text
"""
