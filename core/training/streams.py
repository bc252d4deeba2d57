"""Random streams keyed by (run seed, step, site): no draw depends on the draws before it."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import torch

SEED_BITS = 63


def seed_of(run_seed: int, step: int, site: str) -> int:
    """Derive the seed of one stream, an integer below 2**63.

    Args:
        run_seed: Seed of the run (data or init seed).
        step: Update, or epoch, that the draw belongs to.
        site: What the draw is for; two sites never share a stream.
    """
    digest = hashlib.sha256(f"{run_seed}|{step}|{site}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - SEED_BITS)


def generator(run_seed: int, step: int, site: str) -> torch.Generator:
    """Return a fresh CPU generator of one stream; the global generator is never touched."""
    return torch.Generator().manual_seed(seed_of(run_seed, step, site))


@contextlib.contextmanager
def seeded_library_draws(
    run_seed: int, step: int, site: str, device: torch.device
) -> Iterator[None]:
    """Seed the global generators for library modules (dropout) and restore them afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed_of(run_seed, step, site))
        yield
