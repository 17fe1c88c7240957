"""RTSP cameras with a quirk each, for the tests: H.264 over the same connection, in this process.

`rtsp_server.py` is a well-behaved server; what is here is what cameras and attackers do.
"""

from __future__ import annotations

import base64
import contextlib
import re
import socket
import struct
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

MEDIA = Path(__file__).resolve().parent / "cases" / "media"
GOP = MEDIA / "gop.h264"
"""160x120, 60 frames, every 30th a key frame with its parameter sets before it."""
FPS = 15
PIECE = 1100
Unit = list[bytes]


def units(stream: bytes) -> list[Unit]:
    """Return the pictures of an H.264 byte stream, each as its NAL units."""
    starts = [match.end() for match in re.finditer(b"\0\0\1", stream)]
    pictures: list[Unit] = []
    picture: Unit = []
    for start, end in zip(starts, [*(at - 3 for at in starts[1:]), len(stream)], strict=True):
        picture.append(stream[start:end].rstrip(b"\0"))
        if kind(picture[-1]) in (1, 5):
            pictures.append(picture)
            picture = []
    return pictures


def kind(nal: bytes) -> int:
    """Return the type of a NAL unit: 1 picture, 5 key frame, 7 and 8 parameter sets."""
    return nal[0] & 31


def packets(unit: Unit) -> Iterator[bytes]:
    """Yield the RTP payloads of a picture. Source: RFC 6184, 5.6 and 5.8."""
    for nal in unit:
        if len(nal) <= PIECE:
            yield nal
            continue
        for at in range(1, len(nal), PIECE):
            mark = (0x80 if at == 1 else 0) | (0x40 if at + PIECE >= len(nal) else 0)
            yield bytes([nal[0] & 0xE0 | 28, mark | kind(nal)]) + nal[at : at + PIECE]


class Bits:
    """Writes the fields of a parameter set. Source: H.264, 7.3.2 and 9.1."""

    def __init__(self) -> None:
        self._bits = ""

    def fixed(self, length: int, value: int) -> Bits:
        """Append a number of so many bits."""
        self._bits += format(value, f"0{length}b")
        return self

    def golomb(self, *values: int) -> Bits:
        """Append numbers as ue(v)."""
        for value in values:
            self._bits += "0" * ((value + 1).bit_length() - 1) + format(value + 1, "b")
        return self

    def nal(self, head: int) -> bytes:
        """Return the NAL unit, nothing in it that looks like the start of another."""
        bits = self._bits + "1"
        bits += "0" * (-len(bits) % 8)
        body = int(bits, 2).to_bytes(len(bits) // 8, "big")
        return bytes([head]) + re.sub(b"\0\0(?=[\0-\3])", b"\0\0\3", body)


def sequence_set(width: int, height: int, references: int = 16) -> bytes:
    """Return an SPS of the baseline profile for pictures of this size, multiples of 16."""
    bits = Bits().fixed(24, 0x42C03E).golomb(0, 0, 2, references).fixed(1, 0)
    return bits.golomb(width // 16 - 1, height // 16 - 1).fixed(4, 0b1100).nal(0x67)


class RtspCamera:
    """A server; ``pictures`` again and again for each client.

    join          the number of the picture with which the first client's begins
    announced     the parameter sets are in the description
    lost          numbers of pictures that are never sent
    describe      instead of a description: sends what it likes
    """

    def __init__(
        self,
        pictures: list[Unit] | None = None,
        *,
        join: int = 0,
        announced: bool = True,
        lost: Collection[int] = (),
        describe: Callable[[Callable[[bytes], None]], None] | None = None,
    ) -> None:
        self._pictures = units(GOP.read_bytes()) if pictures is None else pictures
        self._join, self._announced, self._lost = join, announced, lost
        self._describe = describe
        self._end = threading.Event()
        self.sent = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"rtsp://127.0.0.1:{self._server.getsockname()[1]}/a"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Serve nobody any more."""
        self._end.set()
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._server.accept()[0]
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), client, client.makefile("rb") as lines:
            while not self._end.is_set():
                line = lines.readline().decode()
                if not line:
                    return
                head = list(iter(lambda: lines.readline().decode().strip(), ""))
                fields = {
                    name.lower(): value for name, _, value in (h.partition(": ") for h in head)
                }
                self._answer(client, line.split()[0], fields)

    def _answer(self, client: socket.socket, method: str, fields: dict[str, str]) -> None:
        head = f"RTSP/1.0 200 OK\r\nCSeq: {fields['cseq']}\r\nSession: 1\r\n"
        if method == "DESCRIBE":
            client.sendall(head.encode())
            if self._describe:
                self._describe(client.sendall)
                return
            text = self._description()
            client.sendall(
                b"Content-Type: application/sdp\r\nContent-Length: %d\r\n\r\n" % len(text) + text
            )
            return
        if method == "OPTIONS":
            head += "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
        elif method == "SETUP":
            head += f"Transport: {fields['transport']}\r\n"
        client.sendall((head + "\r\n").encode())
        if method == "PLAY":
            threading.Thread(target=self._play, args=(client,), daemon=True).start()

    def _description(self) -> bytes:
        sets = [nal for picture in self._pictures for nal in picture if kind(nal) in (7, 8)]
        fmtp = "a=fmtp:96 packetization-mode=1"
        if self._announced:
            known = ",".join(base64.b64encode(nal).decode() for nal in dict.fromkeys(sets))
            fmtp += f";sprop-parameter-sets={known}"
        lines = ("v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=a", "c=IN IP4 0.0.0.0", "t=0 0")
        media = ("m=video 0 RTP/AVP 96", "a=rtpmap:96 H264/90000", fmtp, "a=control:track1")
        return "".join(f"{line}\r\n" for line in (*lines, *media)).encode()

    def _play(self, client: socket.socket) -> None:
        number, sequence = self._join, 0
        with contextlib.suppress(OSError):
            while not self._end.wait(1 / FPS):
                if number not in self._lost:
                    payloads = list(packets(self._pictures[number % len(self._pictures)]))
                    for at, payload in enumerate(payloads):
                        marker = 0x80 if at == len(payloads) - 1 else 0
                        stamp = number * 90000 // FPS
                        rtp = struct.pack(">BBHII", 0x80, 96 | marker, sequence, stamp, 1) + payload
                        client.sendall(b"$\0" + struct.pack(">H", len(rtp)) + rtp)
                        sequence = sequence + 1 & 0xFFFF
                    self.sent += 1
                number += 1


def endless(send: Callable[[bytes], None], parts: Iterable[bytes]) -> None:
    """Send parts until the client has had enough."""
    for part in parts:
        send(part)
