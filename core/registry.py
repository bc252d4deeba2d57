"""Discovery of plugins: every public module of a package is one."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from types import ModuleType
from typing import Any


def discover(
    package: ModuleType, attribute: str, *, besides: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return ``{module name: its attribute}`` for each public module or folder of a package.

    Args:
        package: Imported package; modules whose name starts with ``_`` are private.
        attribute: Name that each plugin module defines, for example ``Config`` or ``SPEC``.
        besides: Public modules of the package that are no plugins.

    Raises:
        AttributeError: If a plugin lacks the attribute; the message names the module.
    """
    found: dict[str, Any] = {}
    for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda item: item.name):
        if module.name.startswith("_") or module.name in besides:
            continue
        plugin = import_module(f"{package.__name__}.{module.name}")
        if hasattr(plugin, attribute):
            found[module.name] = getattr(plugin, attribute)
        else:
            raise AttributeError(f"{plugin.__name__} defines no {attribute}")
    return found
