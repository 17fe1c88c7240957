"""The configuration of a run: frozen tables, read once and checked.

tables.py     every key of edge.toml, its type, range and default
patterns.py   types of keys whose text has a form: topics, user names, paths
load.py       edge.toml, settings and command line become a config
secrets.py    passwords and credentials; the config without them
device.py     the id of this device
persisted.py  what requests have changed for good: settings, the chosen model
adaptive.py   which frames need not be classified
bundles.py    signed models, and from where a request may fetch one
cases.py      which frames are kept as pictures
homeassistant.py  how Home Assistant finds the device, and its page
local.py      the socket for programs on the device
shadow.py     a candidate model beside the one at work
web.py        the page
smoothing.py  how scores become a label; thresholds of the config, a card or the defaults
"""

from edge.config.adaptive import AdaptiveConfig
from edge.config.bundles import BundlesConfig
from edge.config.cases import CasesConfig
from edge.config.drift import DriftConfig
from edge.config.homeassistant import HomeAssistantConfig
from edge.config.load import (
    SERVICE_CONFIG,
    SERVICE_STATE,
    Tables,
    cases_path,
    change,
    check_host,
    layered,
    load,
    over,
    read_tables,
    spool_path,
    state_folder,
)
from edge.config.local import SERVICE_SOCKET, LocalConfig, local_path
from edge.config.publishing import PublishConfig, SnapshotConfig
from edge.config.secrets import broker, password, redacted, source, without_credentials
from edge.config.shadow import ShadowConfig
from edge.config.smoothing import Recommended, SmoothingConfig, Thresholds, thresholds
from edge.config.tables import (
    CHANGEABLE,
    FILE_ALONE,
    RELOADABLE,
    TABLES,
    CameraConfig,
    Config,
    LogConfig,
    ModelConfig,
    MqttConfig,
    SpoolConfig,
)
from edge.config.web import WebConfig

__all__ = [
    "CHANGEABLE",
    "FILE_ALONE",
    "RELOADABLE",
    "SERVICE_CONFIG",
    "SERVICE_SOCKET",
    "SERVICE_STATE",
    "TABLES",
    "AdaptiveConfig",
    "BundlesConfig",
    "CameraConfig",
    "CasesConfig",
    "Config",
    "DriftConfig",
    "HomeAssistantConfig",
    "LocalConfig",
    "LogConfig",
    "ModelConfig",
    "MqttConfig",
    "PublishConfig",
    "Recommended",
    "ShadowConfig",
    "SmoothingConfig",
    "SnapshotConfig",
    "SpoolConfig",
    "Tables",
    "Thresholds",
    "WebConfig",
    "broker",
    "cases_path",
    "change",
    "check_host",
    "layered",
    "load",
    "local_path",
    "over",
    "password",
    "read_tables",
    "redacted",
    "source",
    "spool_path",
    "state_folder",
    "thresholds",
    "without_credentials",
]
