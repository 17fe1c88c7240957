"""The configuration: its tables, how they are read, what of them is secret, the device's name."""

from edge.config.load import (
    Tables,
    change,
    check_host,
    load,
    over,
    spool_path,
    state_folder,
)
from edge.config.publishing import PublishConfig, SnapshotConfig
from edge.config.secrets import broker, password, redacted, source, without_credentials
from edge.config.smoothing import SmoothingConfig
from edge.config.tables import (
    CHANGEABLE,
    RELOADABLE,
    CameraConfig,
    Config,
    LogConfig,
    ModelConfig,
    MqttConfig,
    SpoolConfig,
)

__all__ = [
    "CHANGEABLE",
    "RELOADABLE",
    "CameraConfig",
    "Config",
    "LogConfig",
    "ModelConfig",
    "MqttConfig",
    "PublishConfig",
    "SmoothingConfig",
    "SnapshotConfig",
    "SpoolConfig",
    "Tables",
    "broker",
    "change",
    "check_host",
    "load",
    "over",
    "password",
    "redacted",
    "source",
    "spool_path",
    "state_folder",
    "without_credentials",
]
