"""Handles `fleet`: other devices on the same broker, read through a second, short connection.

Rule 1: nothing is connected or subscribed unless somebody asks; then for some seconds, and at most
        once in FRESH_S.
Rule 2: what others publish is untrusted: each field has a type and a limit, and text is escaped.

[1] Reading and decoding run on a thread of their own, all else on the loop's thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta

from edge.background import Call
from edge.config.device import NAME
from edge.config.homeassistant import is_page
from edge.contract import DEVICES_MAX, Fleet, Other, Request
from edge.contract.encode import OFFLINE, ONLINE
from edge.contract.payloads import Moment
from edge.daemon.commands import Answer, Pending
from edge.errors import EdgeError, PublishError, boundary
from edge.frames import Seconds
from edge.messages import Broker
from edge.mqtt.subscriber import kept
from edge.text import escaped

KINDS: Final = ("availability", "info", "state")
READ_S: Final = 5.0
"""Longest time of reading, once connected."""
PATIENCE_S: Final = 9.0
"""Longest wait of one who asks; the page's server waits for 10 s."""
FRESH_S: Final = 10.0
"""An answer, or a fault, that is younger is given again."""
WAITING: Final = 64
LABEL_MAX: Final = 128
VERSION_MAX: Final = 40
HINT: Final = "see [mqtt] in edge.toml"


class Fleets:
    """Reads the others of one device.

    base    the base topic that they share
    device  this one's id
    """

    def __init__(
        self,
        broker: Broker,
        base: str,
        device: str,
        clock: Callable[[], Seconds] = time.monotonic,
    ) -> None:
        self._broker, self._base, self._device, self._clock = broker, base, device, clock
        self._call: Call[Fleet] | None = None
        self._waiting: list[Pending] = []
        self._newest: Fleet | EdgeError | None = None
        self._done_s = 0.0

    def handle(self, _: Request) -> Answer | Pending:
        """Return the others, or begin to read them. Raises EdgeError."""
        if self._newest is not None and self._clock() - self._done_s < FRESH_S:
            return self._answer(self._newest)
        if len(self._waiting) >= WAITING:
            raise EdgeError(f"{WAITING} requests wait for the broker already")
        if self._call is None:
            self._call = Call(self._read, self._clock, "fleet")
        elif self._call.lasts_s() > PATIENCE_S:  # it cannot be stopped
            raise self._silent()
        pending = Pending()
        self._waiting.append(pending)
        return pending

    def tick(self) -> None:
        """Answer those who wait, once all is read or they have waited long enough."""
        call = self._call
        if call is None:
            return
        if call.wait(0):
            self._call, self._done_s = None, self._clock()
            try:
                self._newest = call.result()
            except EdgeError as exc:
                self._newest = exc
            self._settle(self._newest)
        elif self._waiting and call.lasts_s() > PATIENCE_S:
            self._settle(self._silent())

    def _settle(self, outcome: Fleet | EdgeError) -> None:
        answer: Answer = {}
        error = ""
        try:
            answer = self._answer(outcome)
        except EdgeError as exc:
            error = str(exc)
        waiting, self._waiting = self._waiting, []
        for pending in waiting:
            pending.settle(answer, error)

    def _answer(self, outcome: Fleet | EdgeError) -> Answer:
        if isinstance(outcome, EdgeError):
            raise outcome.with_traceback(None)  # it may be raised often
        age_s = round(self._clock() - self._done_s, 1)
        return msgspec.structs.asdict(msgspec.structs.replace(outcome, age_s=age_s))

    def _silent(self) -> PublishError:
        what = f"broker does not answer in {PATIENCE_S:.0f} s"
        return PublishError(what, where=self._broker.address, hint=HINT)

    def _read(self) -> Fleet:  # [1]
        topics = [f"{self._base}/+/{kind}" for kind in KINDS]
        with boundary(PublishError, "broker cannot be asked", self._broker.address):
            try:
                payloads = kept(self._broker, topics, READ_S)
            except PublishError as exc:
                raise PublishError(exc.what, where=exc.where, hint=HINT) from exc
            return fleet(payloads, self._base, self._device)


def fleet(payloads: Mapping[str, bytes], base: str, device: str) -> Fleet:
    """Return the devices that retained messages describe, without ``device``. Raises nothing.

    payloads  topic -> payload, of anybody who may publish under ``base``
    """
    said: dict[str, dict[str, bytes]] = {}
    for topic, payload in payloads.items():
        name, _, kind = topic.removeprefix(f"{base}/").partition("/")
        if kind in KINDS and payload and NAME.fullmatch(name):
            said.setdefault(name, {})[kind] = payload
    own = said.pop(device, None)
    names = sorted(said)
    devices = tuple(_other(name, said[name]) for name in names[:DEVICES_MAX])
    return Fleet(devices, own is not None, max(0, len(names) - DEVICES_MAX))


class _HomeAssistant(msgspec.Struct):
    page: str = ""


class _Config(msgspec.Struct):
    homeassistant: _HomeAssistant = msgspec.field(default_factory=_HomeAssistant)


class _Info(msgspec.Struct):
    ts: Moment | None = None
    version: str = ""
    config: _Config = msgspec.field(default_factory=_Config)


class _State(msgspec.Struct):
    ts: Moment
    since_s: Annotated[float, Meta(ge=0, lt=1e11)]
    label: str | None
    paused: bool = False


Said = TypeVar("Said")


def _other(name: str, said: Mapping[str, bytes]) -> Other:
    info = _decoded(said.get("info", b""), _Info) or _Info()
    state = _decoded(said.get("state", b""), _State)
    times = [one.ts for one in (info, state) if one is not None and one.ts is not None]
    page = info.config.homeassistant.page
    label = state.label if state else None
    return Other(
        id=name,
        online={ONLINE: True, OFFLINE: False}.get(said.get("availability", b"")),
        label=None if label is None else escaped(label, LABEL_MAX),
        since=max(0.0, round(state.ts - state.since_s, 3)) if state else None,
        said=max(times, default=None),
        paused=state is not None and state.paused,
        version=escaped(info.version, VERSION_MAX),
        page=page if is_page(page) else "",
    )


def _decoded(payload: bytes, kind: type[Said]) -> Said | None:
    """Return a payload as ``kind``; None for what is none, or was cut."""
    try:
        return msgspec.json.decode(payload, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
