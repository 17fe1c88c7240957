"""Other devices on the same broker: what the request `fleet` answers. Pure."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from edge.contract.payloads import Moment

DEVICES_MAX: Final = 200


class Other(msgspec.Struct, frozen=True):
    """A device as its retained messages describe it; what it has not said is null, or empty.

    online   what it said last, or the broker for it
    label    null while nothing is certain
    since    when ``label`` began; since, said: by the device's own clock, seconds since 1970
    said     when its newest message was made
    version  of the product
    page     address of its page, http or https; empty: none
    """

    id: str
    online: bool | None = None
    label: str | None = None
    since: Moment | None = None
    said: Moment | None = None
    paused: bool = False
    version: str = ""
    page: str = ""


class Fleet(msgspec.Struct, frozen=True):
    """The others, by id.

    own       whether the broker let this device read its own messages, at least
    left_out  devices beyond DEVICES_MAX
    age_s     how long ago the broker was asked
    """

    devices: Annotated[tuple[Other, ...], Meta(max_length=DEVICES_MAX)]
    own: bool
    left_out: Annotated[int, Meta(ge=0)] = 0
    age_s: Annotated[float, Meta(ge=0)] = 0.0
