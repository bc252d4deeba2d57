"""Which machine this is, as workers write it down."""

from __future__ import annotations

import os
import socket


def host_name() -> str:
    """Host name, with the pid name space where there is one: containers may share names."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        return socket.gethostname()
    return f"{socket.gethostname()} {space}"
