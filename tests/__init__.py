"""Tests of edge: one file for each module, and files for the behaviour of the whole."""
