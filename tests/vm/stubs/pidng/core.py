"""Part of the stub."""


class PICAM2DNG:
    """Never used here."""
