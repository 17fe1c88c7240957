"""Runs a rollout: wave after wave, hosts side by side, gates, the way back.

Rule 1: the ledger is written before a device is changed and after; what a kill leaves is looked at
        before anything is done to it.
Rule 2: no wave begins before every device of the one before has passed its gates, except as many
        as may fail, and those that cannot be reached.
Rule 3: only what this rollout has changed is taken back.
Rule 4: a wave is judged whole, also where an interruption came between its devices.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

from deploy import gates
from deploy.attempt import Attempt
from deploy.crew import Crew
from deploy.facts import typed
from deploy.ledger import TOUCHED, Entry, Ledger
from deploy.pace import Pace


class Stopped(Exception):
    """A wave has not passed; one line says why."""


class Engine:
    """One run of a rollout; ``say`` prints a line."""

    def __init__(
        self, attempt: Attempt, crew: Crew, ledger: Ledger, pace: Pace, say: Callable[[str], None]
    ) -> None:
        self._attempt, self._crew, self._ledger = attempt, crew, ledger
        self._pace, self._say = pace, say

    def run(self, waves: Sequence[Sequence[str]]) -> str:
        """Do every wave; return why it stopped, empty where it did not. Raises DeployError."""
        hosts = [host for wave in waves for host in wave]
        for number, wave in enumerate(waves, 1):
            if why := self._wave(f"wave {number} of {len(waves)}", wave, canary=number == 1):
                return self._stopped(hosts, f"wave {number} was stopped: {why}", why)
        why = self._late(hosts)
        return self._stopped(hosts, f"those not reached before: {why}", why) if why else ""

    def _stopped(self, hosts: Sequence[str], line: str, why: str) -> str:
        """Take the other waves back too, where that was asked for; return ``why``."""
        if self._pace.back_all:
            self._back(hosts, line)
        return why

    def _wave(self, name: str, wave: Sequence[str], *, canary: bool = False) -> str:
        """Change a wave and judge it; return why it was stopped, after taking it back."""
        todo = [host for host in wave if self._entry(host).state != "healthy"]
        done = f", {len(wave) - len(todo)} healthy already" if len(todo) < len(wave) else ""
        self._say(f"{name}: {len(wave)} host{'s'[: len(wave) > 1]}{done}")
        if not todo and all(self._entry(host).passed for host in wave):
            return ""
        may_fail = self._pace.failures(len(wave))

        def enough() -> bool:
            return len(self._in(todo, "failed", "stuck")) > may_fail

        self._begin(todo)
        try:
            self._crew.each(
                todo, partial(self._attempt.change, canary=canary), self._attempt.broken, enough
            )
            self._count(todo, may_fail)
            self._soak(name, todo)
            changed = self._in(todo, "installed", "changing")
            self._crew.each(
                changed, partial(self._attempt.judge, canary=canary), self._attempt.broken, enough
            )
            self._count(todo, may_fail)
            self._judge_wave([host for host in wave if not self._entry(host).passed])
            self._count(wave, may_fail)
        except Stopped as exc:
            self._say(f"{name}: stopped: {exc}")
            self._back(wave, f"its wave was stopped: {exc}")
            return str(exc)
        if failed := self._in(wave, "failed"):
            self._back(failed, "it has not passed its gates")
        for host in self._in(wave, "healthy"):
            self._entry(host).passed = True
        self._ledger.write()
        self._say(f"{name}: {len(self._in(wave, 'healthy'))} of {len(wave)} healthy")
        return ""

    def _late(self, hosts: Sequence[str]) -> str:
        """Try once more those that could not be reached."""
        away = self._in(hosts, "unreachable")
        return self._wave("once more, not reached before", away) if away else ""

    def _begin(self, hosts: Sequence[str]) -> None:
        """Forget how an earlier run ended, but for devices that may have the new one."""
        for host in hosts:
            entry = self._entry(host)
            entry.passed = False
            if entry.mine and entry.state in ("failed", "stuck", "unreachable"):
                entry.state = "changing"
            elif entry.state not in TOUCHED:
                entry.state = "waiting"
        self._ledger.write()

    def _judge_wave(self, wave: Sequence[str]) -> None:
        """Fail a wave whose labels are others than before; a shadow has judged its device."""
        entries = [self._entry(name) for name in self._in(wave, "healthy")]
        entries = [one for one in entries if one.mine and typed(one.after or {}).agreement is None]
        pairs = [(typed(one.before or {}), typed(one.after or {})) for one in entries]
        why = gates.of_wave(pairs, self._pace.limits)
        for entry, pair in zip(entries, pairs, strict=True):
            if why:
                self._ledger.set(entry.host, "failed", why)
            elif why is None and (wrong := gates.unlike(*pair, self._pace.limits)):
                self._attempt.tell(entry.host, "failed", wrong)
        if why:
            raise Stopped(why)

    def _back(self, wave: Sequence[str], why: str) -> None:
        if names := [one for one in wave if self._entry(one).mine]:
            do = partial(self._attempt.take_back, why=why)
            self._crew.each(names, do, partial(self._attempt.broken, state="stuck"))

    def _soak(self, name: str, wave: Sequence[str]) -> None:
        """Wait until the last change of a wave is old enough."""
        if not (entries := [self._entry(one) for one in self._in(wave, "installed", "changing")]):
            return
        newest_s = max(min(entry.at_s, time.time()) for entry in entries)
        left_s = min(self._pace.soak_s, newest_s + self._pace.soak_s - time.time())
        if left_s > 0:
            self._say(f"{name}: {len(entries)} changed; gates in {left_s:.0f} s")
            self._crew.pause(left_s)

    def _count(self, wave: Sequence[str], may_fail: int) -> None:
        """Raise Stopped where too many have failed."""
        failed = self._in(wave, "failed", "stuck")
        if len(failed) > may_fail:
            first = self._entry(failed[0])
            raise Stopped(f"{len(failed)} of {len(wave)} failed, first {first.host}: {first.why}")

    def _entry(self, name: str) -> Entry:
        return self._ledger.entries[name]

    def _in(self, hosts: Sequence[str], *states: str) -> list[str]:
        return [name for name in hosts if self._entry(name).state in states]
