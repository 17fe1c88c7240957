"""The addresses of settings: what is in force and what it may be; saved and taken by a reload."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import msgspec
from fastapi import Request
from starlette.responses import Response

from edge import config as configs
from edge.config import Tables
from edge.errors import ConfigError
from edge.text import escaped
from edge.web import described
from edge.web import settings_file as file
from edge.web.answers import Refused, answer
from edge.web.device import Device
from edge.web.place import Place
from edge.web.routes import Route, Schema
from edge.web.work import Work

log = logging.getLogger("edge.web.audit")
FAULTS: Final = (404, 409, 503)


class Settings(msgspec.Struct):
    """Settings. No secret is in them.

    tables     in force in the daemon; null while it is not known
    saved      as they would be after a restart
    choices    table -> key -> JSON Schema of its values, with its default
    changeable   tables that the request `set` changes at once
    reloadable   tables that this address changes at once
    needs_restart  keys of [camera] that it saves, and only a restart takes; and all other tables
    """

    tables: dict[str, Any] | None
    saved: dict[str, Any]
    choices: dict[str, dict[str, Any]]
    changeable: list[str]
    reloadable: list[str]
    needs_restart: list[str]


class Changed(msgspec.Struct):
    """What became of a change.

    saved    in which files
    applied  the daemon has reloaded; else it takes them at its next start
    needs_restart  tables that differ, and only a restart changes
    """

    saved: list[str]
    applied: bool
    needs_restart: list[str]
    error: str = ""


class _Answer(msgspec.Struct):
    data: dict[str, Any] = {}


class _Info(msgspec.Struct):
    config: dict[str, Any] | None = None


class SettingsApi:
    """The handlers."""

    def __init__(self, place: Place, device: Device, work: Work) -> None:
        self._place, self._device, self._work = place, device, work
        self._one: asyncio.Lock | None = None

    def routes(self) -> list[Route]:
        """Return the addresses."""
        keys = {"type": "object", "additionalProperties": True}  # their schemas: GET, `choices`
        tables = dict.fromkeys(file.allowed(), keys)
        body: Schema = {"type": "object", "properties": tables, "additionalProperties": False}
        return [
            Route(
                *("/api/settings", "GET", self.settings, "Settings, and what they may be"),
                *(described.gives(Settings), FAULTS),
            ),
            Route(
                *("/api/settings", "POST", self.change, "Save keys of tables, and reload"),
                *(described.gives(Changed), (*FAULTS, 504)),
                {"required": True, "content": {"application/json": {"schema": body}}},
            ),
        ]

    async def settings(self, _: Request) -> Response:
        """Return the settings."""
        saved = await self._work.do(lambda: configs.redacted(self._place.load()))
        restart = [table for table in configs.TABLES if table not in configs.RELOADABLE]
        return answer(
            Settings(
                self._in_force(),
                saved,
                CHOICES,
                list(configs.CHANGEABLE),
                [table for table in file.allowed() if table != "camera"],
                [*(f"camera.{key}" for key in file.CAMERA), *restart],
            )
        )

    async def change(self, request: Request) -> Response:
        """Save, then have the daemon reload; where it refuses, what was there before is back."""
        tables = described.body(request, Tables)
        if self._one is None:
            self._one = asyncio.Lock()
        async with self._one:
            try:
                await self._work.do(lambda: _checked(tables, self._place))
            except _Wrong as exc:
                raise Refused(400, exc.reason) from exc
            saved = await self._work.do(lambda: file.save(tables, self._place.config))
            text = escaped(msgspec.json.encode(tables).decode(), 300)
            log.info("audit: settings %s, by %s", text, described.caller(request))
            return answer(await self._reload(saved))

    async def _reload(self, saved: file.Saved) -> Changed:
        """Return what became of it. Raises Refused, 409, where the daemon refuses."""
        try:
            reply = await self._device.request("reload", {})
        except Refused as refused:  # it is away, or does not answer: it takes them later
            return Changed(saved.where, False, [], str(refused))
        if reply.status != "ok":
            await self._work.do(saved.take_back)
            log.info("audit: settings: taken back, the daemon refuses them")
            raise Refused(409, reply.error or "the daemon refuses")
        restart = msgspec.json.decode(reply.payload, type=_Answer).data.get("needs_restart", [])
        return Changed(saved.where, True, [str(one) for one in restart])

    def _in_force(self) -> dict[str, Any] | None:
        said = self._device.newest.said("info")
        try:
            return msgspec.json.decode(said or b"{}", type=_Info).config
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None


class _Wrong(Exception):
    """Settings that cannot be."""

    def __init__(self, reason: ConfigError) -> None:
        super().__init__(str(reason))
        self.reason = reason


def _checked(tables: Tables, place: Place) -> None:
    try:
        file.check(tables, place.config)
    except ConfigError as exc:
        raise _Wrong(exc) from exc


def _choices() -> dict[str, dict[str, Any]]:
    """Return table -> key -> schema."""
    return {
        name: described.schema(type(table)).get("properties", {})
        for name, table in configs.TABLES.items()
    }


CHOICES: Final = _choices()
