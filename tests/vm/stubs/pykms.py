"""What picamera2's preview on a screen names when it is imported; Debian has no package of it."""


class PixelFormat:
    """Formats of a screen's planes: none."""

    RGB888 = BGR888 = XRGB8888 = XBGR8888 = YUV420 = YVU420 = NV12 = None
