"""Findings of the checker as sentences."""

from __future__ import annotations

from sqlalchemy.orm import Session

from core.store.check import examine


def check(session: Session) -> list[str]:
    """Look for damage; return one sentence for each finding, none when all is well."""
    return [str(finding) for finding in examine(session).findings]
