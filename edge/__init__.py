"""An always-on image classifier for a Raspberry Pi, published over MQTT."""

__version__ = "0.1.0"
