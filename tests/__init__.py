"""Tests of edge, one file for each module, and of what the whole does."""
