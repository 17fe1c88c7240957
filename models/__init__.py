"""The recipe that makes the shipped model: steps, each `python -m models.STEP`, and their parts.

dataset.py     step 1: read every picture once, split, store
teacher.py     step 2: a larger network judges every training picture
train.py       step 3: train the student
quantise.py    step 4: train on with int8 rounding
export.py      step 5: write the shipped model, and measure every variant
evaluate.py    accuracy of a model, as the daemon runs it
search.py      other sizes of the network, compared
prune.py       a pruned network, compared
report.py      the measured figures, in the README beside the model
onnx.py        the float network as ONNX, proven equal
trained.py     the float network that a shipped model was made of
options.py     options that the steps share
data.py        folders of pictures: classes, splits, weights and targets
duplicates.py  near-duplicates
augment.py     augmented views of a picture
batches.py     the training schedule, and batches of views with their targets
network.py     MobileNetV2 and the student's head
variants.py    one trained network as several TFLite files
metadata.py    TFLite metadata, written into the model file
metrics.py     accuracy, intervals, AUC, calibration, confusion
"""
