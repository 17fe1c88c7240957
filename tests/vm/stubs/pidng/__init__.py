"""What picamera2 names when it is imported, to write raw files; there is no wheel of it."""
