"""How long a socket waits before it gives up: by the kernel's own timeouts.

Those of Python ask poll() before each read and write.
"""

import socket
import struct


def allow(stream: socket.socket, seconds: float) -> None:
    """Have each read and write wait so long at most; then it raises BlockingIOError."""
    whole = int(seconds)
    limit = struct.pack("@ll", whole, int((seconds - whole) * 1e6))
    for direction in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        stream.setsockopt(socket.SOL_SOCKET, direction, limit)
