"""Recordings: what the model saw, with times, and what the run said then; docs/replay.md.

archive.py  members of a tar with numbers and checksums
records.py  what the JSON members hold
pixels.py   a frame as a picture, and back
writer.py   a file that is readable after a kill at any instant
reader.py   the records of a file, checked, in order

``edge record`` writes them, ``edge replay`` and the camera `recorded` read them. Knows no model.
"""

from typing import Final

SUFFIX: Final = ".edgerec"
"""Of a recording's name."""
