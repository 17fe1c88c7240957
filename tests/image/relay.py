"""One connection of the guest's, handed on to a port of this machine: what QEMU's guestfwd runs.

python relay.py PORT
"""

from __future__ import annotations

import os
import select
import socket
import sys


def main(port: int) -> None:
    """Copy both ways until either side ends."""
    with socket.create_connection(("127.0.0.1", port)) as there:
        while True:
            ready, _, _ = select.select([0, there.fileno()], [], [])
            for source in ready:
                content = os.read(0, 65536) if source == 0 else there.recv(65536)
                if not content:
                    return
                if source == 0:
                    there.sendall(content)
                else:
                    os.write(1, content)


if __name__ == "__main__":
    main(int(sys.argv[1]))
