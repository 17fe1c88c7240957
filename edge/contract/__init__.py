"""The public contract: the records of every topic, and their JSON Schema. Pure."""

from edge.contract.payloads import (
    FEW_LABELS,
    CameraInfo,
    Event,
    EventType,
    Info,
    ModelInfo,
    Response,
    Result,
    StageTimes,
    Stamped,
    State,
    Telemetry,
)
from edge.contract.requests import REQUESTS, Claim, Pause, Request, Set, Snapshot, Transaction
from edge.contract.schema import PAYLOADS, SCHEMA, decode, schema

__all__ = [
    "FEW_LABELS",
    "PAYLOADS",
    "REQUESTS",
    "SCHEMA",
    "CameraInfo",
    "Claim",
    "Event",
    "EventType",
    "Info",
    "ModelInfo",
    "Pause",
    "Request",
    "Response",
    "Result",
    "Set",
    "Snapshot",
    "StageTimes",
    "Stamped",
    "State",
    "Telemetry",
    "Transaction",
    "decode",
    "schema",
]
