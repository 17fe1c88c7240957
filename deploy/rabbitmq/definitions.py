#!/usr/bin/python3
"""Writes RabbitMQ's definitions.json: users, and who may do what, as deploy/mosquitto/acl says.

    python3 definitions.py <logins.csv >definitions.json

A line of the input is NAME,PASSWORD or NAME,PASSWORD,ROLE: a role is `device` (the default),
`homeassistant` or `watcher`. A device logs in under its device id (letters, digits, `_` and `-`).
Copy the output to /etc/rabbitmq/ (chown rabbitmq, chmod 600); `rabbitmqctl import_definitions FILE`
on one node adds new devices to a running cluster. It needs nothing but Python.

RabbitMQ reads a topic with `.` for `/`, and `*` for `+`: `edge/porch/state` is `edge.porch.state`.
It checks the filter of a subscription itself: one that covers more than a role may read is refused,
where mosquitto grants it and delivers less.

With another base_topic or discovery prefix, replace `edge` and `homeassistant` throughout.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

EXCHANGE: Final = "amq.topic"
"""All MQTT messages pass through it."""
NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


class Role(NamedTuple):
    """What a user may do.

    clients  pattern of its client ids: a session, which RabbitMQ keeps as a queue, is its own
    write    pattern of topics, {username} in it
    read     the same, of the filters that it subscribes to
    """

    clients: str
    write: str
    read: str


ROLES: Final = {
    # Writes its own topics, reads its requests; `edge doctor` reads its retained ones.
    "device": Role(
        r"edge-(NAME|doctor)-[0-9a-z]+",
        r"^(edge\.{username}\..+|homeassistant\.device\.{username}\.config)\z",
        r"^(edge\.{username}\.(request\.[^.#]+|claim|availability|info|state)|homeassistant\.status)\z",
    ),
    # Reads all topics, sends requests to all devices.
    "homeassistant": Role(
        r"(?!edge-).+",
        r"^(edge\.[^.]+\.request\.[^.]+|homeassistant\..+)\z",
        r"^(edge|homeassistant)\..+\z",
    ),
    # Reads only.
    "watcher": Role(r".+", r"^\z", r"^edge\..+\z"),
}


class Login(NamedTuple):
    """A user, as a line of the input has it."""

    name: str
    password: str
    role: str = "device"


def definitions(logins: Iterable[Login], salt: bytes = b"") -> dict[str, list[dict[str, Any]]]:
    """Return what RabbitMQ imports. ``salt``: 4 bytes for all passwords; empty: each its own."""
    users: list[dict[str, Any]] = []
    permissions: list[dict[str, Any]] = []
    topics: list[dict[str, Any]] = []
    for name, password, role in logins:
        can, place = ROLES[role], {"user": name, "vhost": "/"}
        clients = can.clients.replace("NAME", re.escape(name))
        queues = rf"^mqtt-(subscription|will)-{clients}(qos[01])?\z"
        exchange = f"^{re.escape(EXCHANGE)}\\z"
        users.append(
            {
                "name": name,
                "password_hash": hashed(password, salt or os.urandom(4)),
                "hashing_algorithm": "rabbit_password_hashing_sha512",
                "tags": [],
                "limits": {},
            }
        )
        both = f"{queues}|{exchange}"
        permissions.append(place | {"configure": queues, "write": both, "read": both})
        topics.append(place | {"exchange": EXCHANGE, "write": can.write, "read": can.read})
    return {
        "vhosts": [{"name": "/"}],
        "users": users,
        "permissions": permissions,
        "topic_permissions": topics,
    }


def hashed(password: str, salt: bytes) -> str:
    """Return a password as RabbitMQ stores it. Source: rabbitmq.com/docs/passwords."""
    digest = hashlib.sha512(salt + password.encode()).digest()
    return base64.b64encode(salt + digest).decode()


def parsed(lines: Iterable[str]) -> Iterable[Login]:
    """Yield the logins of a CSV file. Raises ValueError with the line's number, and no password."""
    names = set()
    for number, row in enumerate(csv.reader(lines, strict=True), 1):
        if not row:
            continue
        name, role = row[0].strip(), row[2].strip() if len(row) > 2 else "device"
        if not 2 <= len(row) <= 3:
            raise ValueError(f"line {number}: {len(row)} fields; expected NAME,PASSWORD[,ROLE]")
        if not NAME.match(name):
            raise ValueError(f"line {number}: a name has letters, digits, _ and - only, at most 64")
        if name in names:
            raise ValueError(f"line {number}: {name} is on a line before")
        if not row[1]:
            raise ValueError(f"line {number}: {name} has no password")
        if role not in ROLES:
            raise ValueError(f"line {number}: {name}: a role is one of {', '.join(ROLES)}")
        names.add(name)
        yield Login(name, row[1], role)


def main() -> int:
    """Convert standard input."""
    try:
        made = definitions(list(parsed(sys.stdin)))
    except (ValueError, csv.Error) as exc:
        print(f"definitions: standard input: {exc}", file=sys.stderr)
        return 65
    json.dump(made, sys.stdout, indent=1)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
