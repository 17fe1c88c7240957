"""Builds the parts of one run and puts them together; the only place that knows them all.

[1] The camera is opened on a thread of its own: what that reads, a ``CameraSpec``, is frozen and
    does not change. What the camera reports is put into ``changes`` on the loop's thread, inside
    ``read``, and handled there after it.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from edge import config as configs
from edge.camera import spec as specs
from edge.camera.reconnect import Change, Recovery
from edge.config import Config
from edge.contract import (
    SCHEMA,
    Model,
    Pause,
    Request,
    Set,
    Shadow,
    Snapshot,
    encode,
    homeassistant,
)
from edge.daemon import rooms as every
from edge.daemon.about import MACHINE, Announcer
from edge.daemon.adapting import Adapting
from edge.daemon.commands import Commands, Row, row
from edge.daemon.events import Events
from edge.daemon.figures import Meter
from edge.daemon.fleet import Fleets
from edge.daemon.framepath import FramePath
from edge.daemon.identity import Identity
from edge.daemon.local import Local
from edge.daemon.mail import Mail
from edge.daemon.models import Models
from edge.daemon.pausing import Pausing
from edge.daemon.reload import Reload
from edge.daemon.rooms import Outlet, Rooms
from edge.daemon.run import Run
from edge.daemon.settings import Settings
from edge.daemon.shadowing import Shadowing
from edge.daemon.shadows import Shadows
from edge.daemon.snapshots import Snapshots
from edge.daemon.systemd import Notifier
from edge.daemon.takeover import Takeover
from edge.daemon.throttled import Throttle
from edge.frames import Frame
from edge.messages import Broker, Message
from edge.mqtt import Publisher
from edge.mqtt.spool import Spool
from edge.observers.publishing import Publishing
from edge.pipeline.plugs import Plugs
from edge.telemetry import Firmware, Stages


@dataclass(frozen=True, slots=True)
class Parts:
    """What the loop works with.

    changes  of the camera, to be handled after each ``read``
    ticks    called between two frames, in this order; each returns soon
    """

    run: Run
    wire: encode.Wire
    camera: Recovery
    changes: deque[Change]
    publisher: Publisher
    path: FramePath
    announcer: Announcer
    events: Events
    meter: Meter
    takeover: Takeover
    ticks: tuple[Callable[[], None], ...]


def compose(
    run: Run,
    broker: Broker,
    load: Callable[[], Config],
    notifier: Notifier,
    closing: contextlib.ExitStack,
    recovered: str = "",
) -> Parts:
    """Return the parts of ``run``; ``closing`` gets what must be closed in the end.

    recovered  why the start has taken the choice of a model back; empty if it has not
    """
    config = run.config
    base = f"{config.mqtt.base_topic}/{config.device.id}"
    wire = encode.Wire(base, run.engine.card.labels, run.id, time.time)
    wire.configure(run.engine.card.labels, config.publish)
    changes: deque[Change] = deque()
    spec = specs.camera_spec(config.camera, run.engine.preprocess)
    camera = Recovery(spec.open, specs.policy(config.camera), changes.append)  # [1]
    closing.callback(camera.close)
    spool = Spool(configs.spool_path(config.spool), config.spool.events, config.spool.bytes)
    closing.callback(spool.close)
    identity = Identity(base, config.device.id, run.id, MACHINE)
    publisher = Publisher(
        broker,
        client_id=f"edge-{config.device.id}-{run.id}",
        will=wire.availability(online=False),
        birth=wire.availability(online=True),
        events=spool,
        topics=(
            *(f"{base}/request/+", identity.topic, f"{base}/availability"),
            homeassistant.status_topic(config.homeassistant.prefix),
        ),
        claim=identity.claim,
        user=("schema", str(SCHEMA)),
    )
    stages, path = Stages(), configs.local_path(config.local)
    local = None if path is None else Local(path, config.local.clients, base)
    publish = publisher.publish if local is None else _both(publisher.publish, local.publish)
    snapshots = Snapshots(run, wire, camera, publish)
    plugged = plug(run, wire, publish, snapshots.take, stages, closing)
    plugs, rooms, events = plugged.plugs, plugged.rooms, plugged.events
    announcer = Announcer(run, wire, camera, publish)
    pausing = Pausing(run, plugs, events, plugged.publishing.state)
    settings = Settings(run, camera, rooms, announcer, events)
    shadows = Shadows(run, settings, plugged.shadowing)
    reload = Reload(shadows.over(load))
    closing.callback(reload.close)
    takeover = Takeover(run, reload, camera, rooms, announcer, events, notifier)
    models = Models(run, takeover, events, recovered)
    closing.callback(models.close)
    meter = Meter(*(run, wire, camera, publisher, publish, spool, plugs, stages, events, notifier))
    table: dict[str, Row] = {
        "ping": row(Request, meter.ping),
        "stats": row(Request, meter.stats),
        "pause": row(Pause, pausing.pause),
        "resume": row(Request, pausing.resume),
        "snapshot": row(Snapshot, snapshots.handle),
        "set": row(Set, settings.handle),
        "reload": row(Request, takeover.handle),
        "model": row(Model, models.handle),
        "shadow": row(Shadow, shadows.handle),
        **rooms.rows(),
    }
    commands = Commands(wire, table, run.count_request)
    last: tuple[Callable[[], None], ...] = ()
    if local is not None:
        fleets = Fleets(broker, config.mqtt.base_topic, config.device.id)
        own = {
            **table,
            "fleet": row(Request, fleets.handle),
        }  # who can ask over MQTT can read it all
        local.answer_with(wire, own, snapshots.handle, run.count_request)
        closing.callback(local.close)
        last = (fleets.tick, local.tick)  # it sends what the others publish
    mail = Mail(publisher, base, identity, commands, announcer, events)
    firmware = Firmware()
    throttle = (Throttle(firmware, events).tick,) if firmware.present else ()
    frames = local.frames if local else None
    frame_path = FramePath(run, plugs, stages, plugged.publishing, frames)
    return Parts(
        *(run, wire, camera, changes, publisher, frame_path),
        *(announcer, events, meter, takeover),
        ticks=(
            *(publisher.poll, pausing.tick, mail.tick, takeover.tick, models.tick),
            *(rooms.tick, shadows.tick, meter.tick, *throttle, *last),
        ),
    )


def _both(
    first: Callable[[Message], None], second: Callable[[Message], None]
) -> Callable[[Message], None]:
    def publish(message: Message) -> None:
        first(message)
        second(message)

    return publish


@dataclass(frozen=True, slots=True)
class Plugged:
    """The plugs of a run: publishing, and those of every room."""

    plugs: Plugs
    publishing: Publishing
    rooms: Rooms
    events: Events
    shadowing: Shadowing


def plug(
    run: Run,
    wire: encode.Wire,
    publish: Callable[[Message], None],
    snapshot: Callable[[Frame], object],
    stages: Stages,
    closing: contextlib.ExitStack,
) -> Plugged:
    """Return the plugs that the config in force switches on. Raises EdgeError."""
    events = Events(wire, publish)
    publishing = Publishing(run, wire, publish, events, snapshot)
    plugs = Plugs(publishing, stages.ring, events.plug_failed)
    shadowing = Shadowing(run)
    outlet = Outlet(wire, publish, events, run.drift, shadowing, Adapting(run))
    rooms = Rooms(every.ROOMS, plugs, outlet)
    closing.callback(rooms.close)
    rooms.take(rooms.prepare(run.config, run.engine))
    return Plugged(plugs, publishing, rooms, events, shadowing)
