"""Colour classifiers, each as one kind of tool or user makes them."""
