"""The observer that keeps frames as pictures for a person to sort; off unless [cases] has a reason.

reasons.py   decides whether a frame is kept, and why
picture.py   a frame becomes a picture: upright, masked, small
keeper.py    makes a case of a frame and writes it: the worker's side
observer.py  hands frames to the worker; counts; answers those who asked
errand.py    a slow call on behalf of a request
"""

from edge.observers.cases.keeper import Model
from edge.observers.cases.observer import Cases

__all__ = ["Cases", "Model"]
