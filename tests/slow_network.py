"""A slow network with losses between a client and a broker: a proxy on loopback.

TCP hides loss as waiting: a lost segment comes a retransmission later. So of every hundred pieces
``loss_percent`` wait RETRANSMIT_S longer, and hold up those behind them.
"""

from __future__ import annotations

import asyncio
import random
import threading
from typing import Final

RETRANSMIT_S: Final = 0.4
PIECE: Final = 1448
"""Bytes of a segment."""


class SlowNetwork:
    """Listens on ``port``, 0 for a free one; forwards to port ``target`` with a delay."""

    def __init__(self, target: int, delay_s: float, loss_percent: int, port: int = 0) -> None:
        self._target, self._delay_s, self._loss = target, delay_s, loss_percent
        self._random = random.Random(1)
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._writers: list[asyncio.StreamWriter] = []
        self.port = port
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(5)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._accept, "127.0.0.1", self.port)
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for writer in self._writers:
            writer.transport.abort()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.close()

    async def _accept(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        far, forth = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers += [back, forth]
        await asyncio.gather(self._pass(near, forth), self._pass(far, back))

    async def _pass(self, come: asyncio.StreamReader, go: asyncio.StreamWriter) -> None:
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=200)
        sending = asyncio.create_task(self._send(pieces, go))
        while piece := await come.read(PIECE):
            lost = self._random.randrange(100) < self._loss
            due = self._loop.time() + self._delay_s + (RETRANSMIT_S if lost else 0.0)
            await pieces.put((due, piece))
        await pieces.put((0.0, b""))
        await sending

    async def _send(
        self, pieces: asyncio.Queue[tuple[float, bytes]], go: asyncio.StreamWriter
    ) -> None:
        while True:
            due, piece = await pieces.get()
            if not piece:
                go.close()
                return
            await asyncio.sleep(max(0.0, due - self._loop.time()))  # the delay of the network
            go.write(piece)
            await go.drain()

    def close(self) -> None:
        """Stop."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
