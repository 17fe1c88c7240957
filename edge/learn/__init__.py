"""Teaching: pictures that a person has sorted become a head on a backbone's features.

samples.py     folders of classes -> samples: times, groups, what cannot be used
solver.py      multinomial L2 regression, NumPy alone
validation.py  grouped cross-validation: the strength, and scores of pictures never learnt
doubts.py      what looks wrong: labels, classes that differ by time or light, near-duplicates
curve.py       whether more pictures would help, and of which class
report.py      what was taught and how good it is: text, JSON, one page
bundle.py      card, head and report as a folder, whole or not at all

Knows no network, no daemon and no camera: features come from the caller.
"""
