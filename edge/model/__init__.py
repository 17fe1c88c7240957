"""The model: find its card, prove it, run it. engine.py is what others use."""
