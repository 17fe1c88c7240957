"""Does one thing to many hosts, some at the same time; an interruption ends it at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Final

from deploy.errors import DeployError
from deploy.process import ENDING

POLL_S: Final = 0.5


class Crew:
    """So many threads. halted: an interruption has ended their connections; what they see is no
    fault of a device's.
    """

    def __init__(self, parallel: int) -> None:
        self._parallel, self._halt = parallel, threading.Event()
        ENDING.clear()

    @property
    def halted(self) -> bool:
        """Whether it was interrupted."""
        return self._halt.is_set()

    def each(
        self,
        hosts: Sequence[str],
        do: Callable[[str], None],
        broken: Callable[[str, Exception], None],
        enough: Callable[[], bool] = lambda: False,
    ) -> None:
        """Do it to every host; begin no more once it is enough. Raises the first DeployError.

        broken  takes every other error, of one host: the rest go on
        """
        faults: list[DeployError] = []

        def one(host: str) -> None:
            if faults or self.halted or enough():
                return
            try:
                try:
                    do(host)
                except DeployError:
                    raise
                except Exception as exc:
                    broken(host, exc)
            except DeployError as exc:
                faults.append(exc)

        with ThreadPoolExecutor(self._parallel) as pool:
            try:
                futures = {pool.submit(one, host) for host in hosts}
                while futures:  # without a limit, wait() would not let a signal through
                    ended, futures = wait(futures, POLL_S)
                    for future in ended:
                        future.result()
            except BaseException:
                self._halt.set()
                ENDING.set()
                raise
        if faults:
            raise faults[0]

    def pause(self, seconds: float) -> None:
        """Wait; an interruption ends it."""
        self._halt.wait(seconds)
