"""One picture from bytes or a file: its header first, then decoded within limits."""
