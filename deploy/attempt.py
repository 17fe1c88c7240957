"""What a rollout does to one host: change it, judge it, take it back. Run by several threads.

The ledger says before each step what a kill in it may leave: `changing` is looked at first.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from deploy import gates
from deploy.crew import Crew
from deploy.errors import DeployError, internal
from deploy.facts import Facts, plain, typed
from deploy.host import Host
from deploy.ledger import TOUCHED, Entry, Ledger, State
from deploy.on_device.rollout import BACK
from deploy.pace import Pace
from deploy.report import line
from deploy.subjects import Reach, Subject

AWAY: Final = (69, 75)
"""Statuses of a device that could not be reached, or where a step or another deploy runs."""
STUCK: Final = (70, 71)
"""Statuses of an attempt that may have left the new one there."""
BROKE: Final = "the connection broke"
INTERRUPTED: Final = "interrupted"
WENT_BACK: Final = "it went back by itself: not healthy"


class Attempt:
    """Steps of one run.

    say   prints a line
    note  takes lines of a device for the report
    """

    def __init__(
        self,
        subject: Subject,
        ledger: Ledger,
        reach: Reach,
        pace: Pace,
        crew: Crew,
        say: Callable[[str], None],
        note: Callable[[str, str], None],
    ) -> None:
        self._subject, self._ledger, self._reach = subject, ledger, reach
        self._pace, self._crew, self._say, self._note = pace, crew, say, note

    def change(self, name: str, *, canary: bool) -> None:
        """Look at a host, and change it unless it has the new one already."""
        entry, touched = self._entry(name), self._entry(name).state in TOUCHED
        begun = touched or entry.at_s > 0  # without a connection a change may have gone on
        had, began = entry.mine if touched else begun, False
        try:
            with self._reach(name, self._pace.patience_s if touched else 0.0) as host:
                before = self._subject.look(host, self._pace.look_s)
                kept = entry.before if begun and entry.before else plain(before)
                if self._subject.has(host, before):
                    self._found(entry, kept, mine=had)
                    return
                new: dict[str, Any] = {"mine": True, "before": kept, "after": None, "unknown": []}
                new["passed"] = False
                self._ledger.set(name, "changing", at_s=time.time(), **new)
                began = True
                agreement = self._subject.apply(host)
                after = {} if agreement is None else {"agreement": agreement}
                self._ledger.set(name, "installed", after=after, at_s=time.time())
        except DeployError as exc:
            self._failed(name, exc, canary=canary, undone=began and _undone(exc, had=had))

    def _found(self, entry: Entry, before: dict[str, Any], *, mine: bool) -> None:
        """Record a host that has the new one already: from others, or what has begun there."""
        at_s = entry.at_s if entry.state == "installed" or not mine else time.time()
        self._ledger.set(entry.host, "installed", mine=mine, before=before, at_s=at_s)

    def _failed(self, name: str, exc: DeployError, *, canary: bool, undone: bool) -> None:
        entry = self._entry(name)
        if exc.status == 73:
            raise exc
        if self._crew.halted:
            return  # an interruption has ended the connection: it is looked at first, next time
        if exc.status in AWAY and entry.state not in ("changing", "installed"):
            why = exc.line_at(name)
            if canary:
                self.tell(name, "failed", f"the first wave needs it: {why}", mine=False)
            else:
                self.tell(name, "unreachable", why)
        elif exc.status in AWAY:
            why = BROKE if BROKE in str(exc) else exc.line_at(name)
            at_s = time.time() if entry.mine else entry.at_s
            self._ledger.set(name, entry.state, why, at_s=at_s)
        elif undone:
            self.tell(name, "failed", exc.line_at(name), mine=False, at_s=0.0)
        else:
            self.tell(name, "failed", exc.line_at(name))

    def judge(self, name: str, *, canary: bool) -> None:
        """Compare a host that was changed with what it was before."""
        entry = self._entry(name)
        try:
            with self._reach(name, self._pace.patience_s) as host:
                after = self._subject.look(host, self._pace.look_s)
                if entry.state == "changing" and not self._subject.has(host, after):
                    self._unmade(host, after, canary=canary)
                    return
                wanted = self._subject.wanted(host)
        except DeployError as exc:
            if exc.status == 73:
                raise
            if not self._crew.halted:
                self.tell(name, "failed", f"after the change: {exc.line_at(name)}")
            return
        before = typed(entry.before or {})
        if entry.after and "agreement" in entry.after:
            after = replace(after, agreement=entry.after["agreement"])
        verdict = gates.judge(before, after, wanted, self._pace.limits)
        more: dict[str, Any] = {"after": plain(after), "unknown": [*verdict.unknown]}
        if verdict.wrong:
            self.tell(name, "failed", "; ".join(verdict.wrong), **more)
        else:
            self.tell(name, "healthy", **more)

    def _unmade(self, host: Host, after: Facts, *, canary: bool) -> None:
        """Record a host that has not got the new one, or does not say so."""
        entry = self._entry(host.name)
        before, cause = typed(entry.before or {}), entry.why or INTERRUPTED
        if self._subject.refused(host, after, before):
            self.tell(host.name, "failed", WENT_BACK, mine=False, at_s=0.0)
        elif self._subject.lacks(host, after, before):
            state: State = "failed" if canary else "unreachable"
            at_s = entry.at_s if self._subject.goes_on else 0.0
            why = f"{cause}; it does not have the new one"
            self.tell(host.name, state, why, mine=False, at_s=at_s)
        else:
            self.tell(host.name, "failed", f"{cause}; it does not say what it has now", mine=True)

    def take_back(self, name: str, why: str) -> None:
        """Give a host what it had before."""
        entry = self._entry(name)
        own = entry.why if entry.state == "failed" else why
        self._ledger.set(name, "changing", own, passed=False)
        try:
            with self._reach(name, self._pace.patience_s) as host:
                self._subject.back(host)
        except DeployError as exc:
            if exc.status == 73:
                raise
            if not self._crew.halted:
                self.tell(name, "stuck", f"{own}; could not go back: {exc}")
            return
        self.tell(name, "back", own, mine=False, at_s=0.0)

    def broken(self, name: str, exc: Exception, state: State = "failed") -> None:
        """Record an error that nothing foresees: a device's answer, or a fault of this program."""
        if self._crew.halted:
            return
        self._note(name, "".join(traceback.format_exception(exc, limit=-20)))
        self.tell(name, state, internal(exc))

    def tell(self, name: str, state: State, why: str = "", **more: Any) -> None:
        """Record an outcome and print its line."""
        self._ledger.set(name, state, why, **more)
        self._say(line(self._entry(name)))

    def _entry(self, name: str) -> Entry:
        return self._ledger.entries[name]


def _undone(exc: DeployError, *, had: bool) -> bool:
    """Return whether a change that has failed left nothing new on its host.

    had  it may have had the new one before
    """
    return exc.status == BACK or (not had and exc.status not in STUCK)
