"""The recipe that makes the shipped models: steps, each `python -m models.STEP`, and their parts.

dataset.py     step 1: read every picture once, split, store
teacher.py     step 2: a larger network judges every training picture
train.py       step 3: train the student
quantise.py    step 4: train on with int8 rounding
export.py      step 5: write the shipped model, and measure every variant
search.py      other sizes of the network, compared
prune.py       a pruned network, compared
cascade.py     the small model, and the large one where it is unsure
report.py      the measured figures, in the README beside the model
evaluate.py    accuracy of a model, as the daemon runs it
calibrate.py   how far its scores can be trusted; thresholds
features.py    backbones to teach with; fewshot.py: how good they are
onnx.py        the float network as ONNX, proven equal

options.py     options that the steps share
folders.py     folders of pictures -> samples; data.py: reading, splits, the mix, targets
duplicates.py  near-duplicates
augment.py     augmented views of a picture
batches.py     the training schedule, and batches of views with their targets
backbones.py   MobileNetV2 and EfficientNet-Lite; weights.py, checkpoint.py: their weights
network.py     a backbone with the student's head
variants.py    one trained network as several TFLite files
trained.py     the float network that a shipped model was made of
metadata.py    TFLite metadata, written into the model file
judge.py       scores of a model for every set; metrics.py: figures of scores
floors.py, tables.py, sections.py, plots.py
               parts of the report
shots.py, regression.py
               parts of fewshot.py
"""
