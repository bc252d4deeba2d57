"""Which machine this is, as workers write it down."""

from __future__ import annotations

import os
import socket
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def host_name() -> str:
    """Host name, with the pid name space where there is one: containers may share names."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        return socket.gethostname()
    return f"{socket.gethostname()} {space}"


def boot_id() -> str:
    """Text that changes with every start of the machine; empty when it cannot be told."""
    try:
        return BOOT_ID.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def is_this_machine(host: str, boot: str) -> bool:
    """Tell whether something was written on this machine, if that is known since its last start.

    Args:
        host: Where, as ``host_name`` says it.
        boot: ``boot_id`` there; empty: not known.
    """
    here = boot_id()
    if here and boot:
        return here == boot
    return host.partition(" ")[0] == socket.gethostname()
