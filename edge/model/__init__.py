"""The model: found, proven, run. ``engine`` is what others use; nothing is imported from here.

engine.py         a model that has proven what its card says, ready for frames
attempt.py        a model on its way into use: identified, and tried if it is unproven
trial.py          a child process in which an unproven model is tried
trial_child.py    the child's side: its limits, the model's start, the answer
proof.py          models that have proven themselves, remembered by checksum
locate.py         find a model, by its name or its path
installed.py      models by name, and where they lie
store.py          models that this device was given: added, listed, removed
modelfile.py      a model's file: its checksum, what it says of itself, its labels
cardfile.py       reads a card, model.toml
card.py           records: what a card says, what a tensor is
cardcheck.py      background labels and recommended thresholds that cannot be
bundle.py         what a card's keys must agree on; a head's card on its backbone's
labels.py         the labels of a model without a card: beside it, or packed into it
metadata.py       TFLite metadata inside a model file; reads any bytes
normalisation.py  mean and std that a model file says; where a card contradicts them
attest.py         the checks of a start: the model fits its card, and gives probabilities
golden.py         the golden picture gives its scores or features
backbone.py       a model that gives features, as a head is taught on them
runtime.py        the TFLite interpreter; only this file imports TFLite
graph.py          the nodes and tensors of a loaded model
shape.py          the shape of the input, where a model leaves it open
preprocess.py     a frame becomes the model's input, straight into the tensor
subsampled.py     YUV pictures, shrunk before they are converted
lookup.py         pixel values as tensor values
output.py         how an output is read: as scores, as features, or with a head
scores.py         output values become probabilities, or a reason why they are none
features.py       output values as features
head.py           features become probabilities: an affine map and a softmax
headfile.py       reads the file of a head
npz.py            reads arrays from an .npz, whatever its bytes are
"""
