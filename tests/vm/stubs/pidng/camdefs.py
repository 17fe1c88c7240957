"""Part of the stub."""


class Picamera2Camera:
    """Never used here."""
