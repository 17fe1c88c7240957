"""Runs a rollout: wave after wave, hosts side by side, gates, the way back.

Rule 1: the ledger is written before a device is changed and after; what a kill leaves is looked at
        before anything is done to it.
Rule 2: no wave begins before every device of the one before has passed its gates, except as many
        as may fail, and those that cannot be reached.
Rule 3: only what this rollout has changed is taken back.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from deploy import gates
from deploy.crew import Crew
from deploy.errors import DeployError, internal
from deploy.facts import plain, typed
from deploy.ledger import TOUCHED, Entry, Ledger, State
from deploy.pace import Pace
from deploy.report import line
from deploy.subjects import Reach, Subject

AWAY: Final = (69, 75)
"""Statuses of a device that could not be reached, or where a step or another deploy runs."""
STUCK: Final = (70, 71)
"""Statuses of an attempt that may have left the new one there."""
NOT_MADE: Final = "the connection broke before the change was made"
UNKNOWN: Final = "the connection broke, and it does not say what it has now"
WENT_BACK: Final = "it went back by itself: not healthy"


class Stopped(Exception):
    """A wave has not passed; one line says why."""


class Engine:
    """One run of a rollout.

    say   prints a line
    note  takes lines of a device for the report
    """

    def __init__(
        self,
        subject: Subject,
        ledger: Ledger,
        reach: Reach,
        pace: Pace,
        say: Callable[[str], None],
        note: Callable[[str, str], None],
    ) -> None:
        self._subject, self._ledger, self._reach = subject, ledger, reach
        self._pace, self._say, self._note = pace, say, note
        self._crew = Crew(pace.parallel)

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
        if not todo:
            return ""
        may_fail = self._pace.failures(len(wave))

        def enough() -> bool:
            return len(self._in(todo, "failed", "stuck")) > may_fail

        self._begin(todo)
        try:
            self._crew.each(todo, partial(self._change, canary=canary), self._broken, enough)
            self._count(todo, may_fail)
            self._soak(name, todo)
            changed = self._in(todo, "installed", "changing")
            self._crew.each(changed, partial(self._judge, canary=canary), self._broken, enough)
            self._count(todo, may_fail)
            self._judge_wave(todo)
            self._count(todo, may_fail)
        except Stopped as exc:
            self._say(f"{name}: stopped: {exc}")
            self._back(wave, f"its wave was stopped: {exc}")
            return str(exc)
        if failed := self._in(todo, "failed"):
            self._back(failed, "it has not passed its gates")
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
            if entry.mine and entry.state in ("failed", "stuck", "unreachable"):
                entry.state = "changing"
            elif entry.state not in TOUCHED:
                entry.state = "waiting"
        self._ledger.write()

    # What is done to one host; run by several threads.

    def _change(self, name: str, *, canary: bool) -> None:
        entry, touched = self._entry(name), self._entry(name).state in TOUCHED
        began = False
        try:
            with self._reach(name, self._pace.patience_s if touched else 0.0) as host:
                before = self._subject.look(host, self._pace.look_s)
                kept = entry.before if touched and entry.before else plain(before)
                if self._subject.has(host, before):
                    mine = touched and entry.mine
                    self._ledger.set(name, "installed", mine=mine, before=kept)
                    return
                new: dict[str, Any] = {"mine": True, "before": kept, "after": None, "unknown": []}
                self._ledger.set(name, "changing", at_s=time.time(), **new)
                began = True
                agreement = self._subject.apply(host)
                after = {} if agreement is None else {"agreement": agreement}
                self._ledger.set(name, "installed", after=after, at_s=time.time())
        except DeployError as exc:
            self._failed(name, exc, canary=canary, began=began)

    def _failed(self, name: str, exc: DeployError, *, canary: bool, began: bool) -> None:
        entry = self._entry(name)
        if exc.status == 73:
            raise exc
        if self._crew.halted:
            return  # an interruption has ended the connection: it is looked at first, next time
        if exc.status in AWAY and entry.state not in ("changing", "installed"):
            why = exc.line_at(name)
            if canary:
                self._tell(name, "failed", f"the first wave needs it: {why}", mine=False)
            else:
                self._tell(name, "unreachable", why)
        elif exc.status in AWAY:
            self._ledger.set(name, entry.state, str(exc))
        else:
            undone = began and exc.status not in STUCK  # by itself, or nothing was changed
            self._tell(name, "failed", exc.line_at(name), mine=entry.mine and not undone)

    def _judge(self, name: str, *, canary: bool) -> None:
        entry = self._entry(name)
        try:
            with self._reach(name, self._pace.patience_s) as host:
                after = self._subject.look(host, self._pace.look_s)
                if entry.state == "changing" and not self._subject.has(host, after):
                    refused = self._subject.refused(host, after)
                    lacks = self._subject.lacks(host, after, typed(entry.before or {}))
                    why = WENT_BACK if refused else NOT_MADE if lacks else UNKNOWN
                    state: State = "failed" if refused or canary or not lacks else "unreachable"
                    self._tell(name, state, why, mine=not (refused or lacks))
                    return
                wanted = self._subject.wanted(host)
        except DeployError as exc:
            if exc.status == 73:
                raise
            if not self._crew.halted:
                self._tell(name, "failed", f"after the change: {exc.line_at(name)}")
            return
        before = typed(entry.before or {})
        if entry.after and "agreement" in entry.after:
            after = replace(after, agreement=entry.after["agreement"])
        verdict = gates.judge(before, after, wanted, self._pace.limits)
        more: dict[str, Any] = {"after": plain(after), "unknown": [*verdict.unknown]}
        if verdict.wrong:
            self._tell(name, "failed", "; ".join(verdict.wrong), **more)
        else:
            self._tell(name, "healthy", **more)

    def _take_back(self, name: str, why: str) -> None:
        entry = self._entry(name)
        try:
            with self._reach(name, self._pace.patience_s) as host:
                self._subject.back(host)
        except DeployError as exc:
            if exc.status == 73:
                raise
            if not self._crew.halted:
                self._tell(name, "stuck", f"{entry.why or why}; could not go back: {exc}")
            return
        own = entry.why if entry.state == "failed" else why
        self._tell(name, "back", own, mine=False)

    def _broken(self, name: str, exc: Exception, state: State = "failed") -> None:
        """Record an error that nothing foresees: a device's answer, or a fault of this program."""
        if self._crew.halted:
            return
        self._note(name, "".join(traceback.format_exception(exc, limit=-20)))
        self._tell(name, state, internal(exc))

    # The wave.

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
                self._tell(entry.host, "failed", wrong)
        if why:
            raise Stopped(why)

    def _back(self, wave: Sequence[str], why: str) -> None:
        if names := [one for one in wave if self._entry(one).mine]:
            do = partial(self._take_back, why=why)
            self._crew.each(names, do, partial(self._broken, state="stuck"))

    def _soak(self, name: str, wave: Sequence[str]) -> None:
        """Wait until the last change of a wave is old enough."""
        if not (entries := [self._entry(one) for one in self._in(wave, "installed")]):
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

    def _tell(self, name: str, state: State, why: str = "", **more: Any) -> None:
        """Record an outcome and print its line."""
        self._ledger.set(name, state, why, **more)
        self._say(line(self._entry(name)))

    def _entry(self, name: str) -> Entry:
        return self._ledger.entries[name]

    def _in(self, hosts: Sequence[str], *states: str) -> list[str]:
        return [name for name in hosts if self._entry(name).state in states]
