"""Reads one picture from bytes or a file: header first, then decoded within limits."""
