"""Tests of the programs for a fleet: the store, the exporter, the alerts."""
