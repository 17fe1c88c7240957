"""An ssh proxy: passes ssh a connection to the machine's root shell, which becomes an sshd.

ssh -o ProxyUseFdpass=yes -o ProxyCommand='python3 proxy.py SOCKET'
"""

from __future__ import annotations

import socket
import sys

with socket.socket(socket.AF_UNIX) as shell, socket.socket(fileno=1) as ssh:
    shell.connect(sys.argv[1])
    # The shell's stderr also comes here, and is not ssh's protocol.
    shell.sendall(b"exec 2>/dev/null; mkdir -p /run/sshd; exec /usr/sbin/sshd -i\n")
    socket.send_fds(ssh, [b"\0"], [shell.fileno()])
