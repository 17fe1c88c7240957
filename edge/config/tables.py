"""The tables of ``edge.toml``: every key, its type, range and default.

Durations are seconds; sizes are pixels.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from msgspec import Meta
from msgspec.structs import replace

from edge.config.adaptive import AdaptiveConfig
from edge.config.bundles import BundlesConfig
from edge.config.cases import CasesConfig
from edge.config.drift import DriftConfig
from edge.config.homeassistant import HomeAssistantConfig
from edge.config.local import LocalConfig
from edge.config.patterns import Login, Topic, WebPath
from edge.config.publishing import PublishConfig, SnapshotConfig
from edge.config.shadow import ShadowConfig
from edge.config.smoothing import SmoothingConfig
from edge.config.table import Interval, Pixels, Rate, Share, Table
from edge.config.web import WebConfig

PixelFormats = Literal["auto", "yuyv", "nv12", "yu12", "mjpg", "jpeg", "bgr3", "rgb3", "grey"]
"""V4L2's names."""
WhiteBalance = Literal[
    "auto", "manual", "incandescent", "tungsten", "fluorescent", "indoor", "daylight", "cloudy"
]
LOG_LEVELS = Literal["debug", "info", "warning", "error"]


class DeviceConfig(Table, frozen=True):
    """The identity of this device.

    id  the device's name in topics; empty for the host name. {hostname}, {serial} (the Pi's) and
        {machine} (from the machine-id) in it are filled in, so that one file serves a fleet
    """

    id: Annotated[str, Meta(max_length=128)] = ""


class ControlsConfig(Table, frozen=True):
    """Controls that a camera can change while it runs; those left out stay as the camera has them.

    exposure_us  microseconds; switches automatic exposure off
    gain         1: none; switches automatic gain off
    brightness   offset, -1 to 1
    contrast, saturation, sharpness   factors; 1: unchanged
    awb          white balance: auto, manual, or a kind of light (the Pi's cameras)
    af           focus: continuous, auto (once), manual
    lens_position   dioptres: 0 is infinity, 2 half a metre; with af = "manual"
    """

    exposure_us: Annotated[int, Meta(ge=1, le=60_000_000)] | None = None
    gain: Annotated[float, Meta(ge=1, le=64)] | None = None
    brightness: Annotated[float, Meta(ge=-1, le=1)] | None = None
    contrast: Annotated[float, Meta(ge=0, le=32)] | None = None
    saturation: Annotated[float, Meta(ge=0, le=32)] | None = None
    sharpness: Annotated[float, Meta(ge=0, le=16)] | None = None
    awb: WhiteBalance | None = None
    af: Literal["continuous", "auto", "manual"] | None = None
    lens_position: Annotated[float, Meta(ge=0, le=32)] | None = None


class CameraConfig(Table, frozen=True):
    """The source of frames.

    source           auto, picamera2[:N], /dev/videoN, rtsp://..., http://..., a video file,
                     a recording, a folder of images, synthetic
    width, height    requested of a camera; ``info`` has what it delivers
    fps              requested of a camera; for a folder, pictures per second
    format           requested of a V4L2 camera; auto: the cheapest that has the size and the rate
    transport        of RTSP; udp loses packets where tcp loses time
    username         of a stream; {id} in it is the device's id
    password_file    of a stream; empty: systemd's credential ``camera-password``, if present
    rotation         degrees clockwise that a picture is turned before anything else
    flip_horizontal, flip_vertical   the turned picture is mirrored
    roi              left, top, width, height of the part that is used: shares of that picture
    max_pixels       of a picture; one with more is not decoded. A JPEG may have four times as
                     many: it is decoded at half its size
    max_bytes        of an encoded picture, from a file or a stream
    pace             of files: realtime, or fast: every frame at once
    loop             begin again at the end of a file or folder
    stall_timeout_s  without a frame for so long, the camera counts as gone
    required         the daemon ends where the camera cannot be opened: at once at its start, later
                     after ``max_reopens`` tries in a row without success, or as many within
                     ``reopen_window_s``; else it goes on trying
    controls         a table of its own, [camera.controls]
    """

    source: Annotated[str, Meta(min_length=1)] = "auto"
    width: Pixels = 640
    height: Pixels = 480
    fps: Rate = 30.0
    format: PixelFormats = "auto"
    transport: Literal["tcp", "udp"] = "tcp"
    username: Login = ""
    password_file: str = ""
    rotation: Literal[0, 90, 180, 270] = 0
    flip_horizontal: bool = False
    flip_vertical: bool = False
    roi: tuple[Share, Share, Share, Share] = (0.0, 0.0, 1.0, 1.0)
    max_pixels: Annotated[int, Meta(ge=10_000, le=400_000_000)] = 16_000_000
    max_bytes: Annotated[int, Meta(ge=10_000, le=1_000_000_000)] = 32_000_000
    pace: Literal["realtime", "fast"] = "realtime"
    loop: bool = True
    stall_timeout_s: Interval = 10.0
    required: bool = True
    max_reopens: Annotated[int, Meta(ge=0, le=10_000)] = 10
    reopen_window_s: Interval = 300.0
    controls: ControlsConfig = ControlsConfig()


class ModelConfig(Table, frozen=True):
    """The model that classifies.

    path              name of an installed model, a folder with a model.toml, or a .tflite file;
                      empty for the shipped model
    threads           threads inside the interpreter, no more than cores; 0 for all cores
    require_xnnpack   refuse to run an int8 or float model without XNNPACK
    max_memory_bytes  refuse a model that needs more, in addition to its file
    probation_s       a model that a request has chosen is replaced by the one before where it is
                      too slow, gives no scores or ends the daemon within so long; 0: never
    second            a model with the same labels, as ``path``, that is asked where the first is
                      unsure; empty: none
    second_below      unsure: its two best scores are nearer than this
    """

    changed_by: ClassVar = "reload"

    path: str = ""
    threads: Annotated[int, Meta(ge=0, le=64)] = 0
    require_xnnpack: bool = True
    max_memory_bytes: Annotated[int, Meta(ge=10_000_000, le=100_000_000_000)] = 256_000_000
    probation_s: Annotated[float, Meta(ge=0, le=2_592_000)] = 3600.0
    second: str = ""
    second_below: Share = 0.4

    def alone(self, path: str) -> ModelConfig:
        """Return the same settings for another model, which asks no second one."""
        return replace(self, path=path, second="")


class MqttConfig(Table, frozen=True):
    """The broker. The password is in a file of its own, never in this one.

    base_topic      topics begin with it and the device's id
    port            0: 1883, or 8883 with TLS
    protocol        of MQTT
    transport       tcp, or websockets: over HTTP, at ``websocket_path``
    username        {id} in it is the device's id
    password_file   empty: systemd's credential ``mqtt-password``, if present
    tls             encrypt, and check the broker's certificate and name
    ca_file         authorities to trust, PEM; empty: credential ``mqtt-ca``, else the system's
    cert_file, key_file   this device's own certificate and key, PEM; empty: credentials
                    ``mqtt-cert`` and ``mqtt-key``, if present
    accept_any_certificate   with TLS, check nothing: any server that answers gets all messages
    keepalive_s     the broker publishes the last will after 1.5 times this silence
    reconnect_s     longest wait between two tries
    """

    base_topic: Topic = "edge"
    host: Annotated[str, Meta(min_length=1)] = "localhost"
    port: Annotated[int, Meta(ge=0, le=65535)] = 0
    protocol: Literal["5", "3.1.1"] = "5"
    transport: Literal["tcp", "websockets"] = "tcp"
    websocket_path: WebPath = "/mqtt"
    username: Login = ""
    password_file: str = ""
    tls: bool = False
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    accept_any_certificate: bool = False
    keepalive_s: Annotated[int, Meta(ge=1, le=3600)] = 30
    reconnect_s: Annotated[int, Meta(ge=1, le=3600)] = 30


class SpoolConfig(Table, frozen=True):
    """Storage of events that wait for the broker.

    path    a file; auto: spool.db in systemd's state directory, if present; empty, or auto without
            one: memory only
    events  at most so many
    bytes   of payloads, at most; beyond either limit the oldest events are dropped
    """

    path: str = "auto"
    events: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    bytes: Annotated[int, Meta(ge=10_000, le=1_000_000_000)] = 10_000_000


class LogConfig(Table, frozen=True):
    """level: lowest level that is logged."""

    changed_by: ClassVar = "set"

    level: LOG_LEVELS = "info"


class Config(Table, frozen=True):
    """The whole file; every table and key is optional."""

    device: DeviceConfig = DeviceConfig()
    camera: CameraConfig = CameraConfig()
    model: ModelConfig = ModelConfig()
    bundles: BundlesConfig = BundlesConfig()
    smoothing: SmoothingConfig = SmoothingConfig()
    mqtt: MqttConfig = MqttConfig()
    spool: SpoolConfig = SpoolConfig()
    local: LocalConfig = LocalConfig()
    publish: PublishConfig = PublishConfig()
    snapshot: SnapshotConfig = SnapshotConfig()
    adaptive: AdaptiveConfig = AdaptiveConfig()
    drift: DriftConfig = DriftConfig()
    shadow: ShadowConfig = ShadowConfig()
    cases: CasesConfig = CasesConfig()
    homeassistant: HomeAssistantConfig = HomeAssistantConfig()
    web: WebConfig = WebConfig()
    log: LogConfig = LogConfig()


TABLES: Final[dict[str, Table]] = {
    name: getattr(Config(), name) for name in Config.__struct_fields__
}
"""Name of a table -> its defaults."""
CHANGEABLE: Final = tuple(name for name, table in TABLES.items() if table.changed_by == "set")
"""Tables that a ``set`` request can change."""
RELOADABLE: Final = tuple(name for name, table in TABLES.items() if table.changed_by != "restart")
"""Tables that a reload can change."""
FILE_ALONE: Final = tuple(name for name, table in TABLES.items() if table.file_alone)
"""Tables that no persisted setting changes."""
