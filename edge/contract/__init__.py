"""The public contract: the records of every topic, and their JSON Schema. Pure."""

from edge.config.smoothing import Thresholds
from edge.contract.camera import CameraInfo, CameraMode
from edge.contract.payloads import (
    FEW_LABELS,
    SCHEMA,
    About,
    Event,
    EventType,
    Evidence,
    Info,
    ModelInfo,
    Response,
    Result,
    Stamped,
    State,
)
from edge.contract.requests import (
    REQUESTS,
    Claim,
    Model,
    Pause,
    Request,
    Set,
    Snapshot,
    Transaction,
)
from edge.contract.schema import PAYLOADS, decode, schema
from edge.contract.telemetry import (
    Figures,
    Frames,
    Health,
    PlugFigures,
    StageTimes,
    Telemetry,
    Totals,
)

__all__ = [
    "FEW_LABELS",
    "PAYLOADS",
    "REQUESTS",
    "SCHEMA",
    "About",
    "CameraInfo",
    "CameraMode",
    "Claim",
    "Event",
    "EventType",
    "Evidence",
    "Figures",
    "Frames",
    "Health",
    "Info",
    "Model",
    "ModelInfo",
    "Pause",
    "PlugFigures",
    "Request",
    "Response",
    "Result",
    "Set",
    "Snapshot",
    "StageTimes",
    "Stamped",
    "State",
    "Telemetry",
    "Thresholds",
    "Totals",
    "Transaction",
    "decode",
    "schema",
]
