"""What a page gets when it is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.settings import Settings
    from core.store.session import Store


@dataclass(frozen=True)
class PageContext:
    """Everything that a page module's ``build`` may use.

    A page is a module in ``app/pages`` with ``TITLE``, ``ROUTE`` (no slash; "" is Home) and
    ``build(context)``, which adds components to the open ``gr.Blocks``. What a page shows lives in
    the database and the URL; a page keeps nothing between events.

    Attributes:
        store: Database of studies, runs and predictions.
        settings: Addresses and folders of this process.
    """

    store: Store
    settings: Settings
