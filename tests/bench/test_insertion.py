"""What it costs to put a prompt around the text and to learn where, against the literal loops.

Rows are as wide as those of the small backbones of all tests, so that the time is that of the
calls; of wide rows both ways spend most on moving numbers, and the ratio is smaller.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from core.methods._layout import insert, slot_places, surround
from core.methods._module import TokenBatch
from tests.method_tools import make_batch, tiny_backbone

ROOT = Path(__file__).resolve().parents[2]
ROWS, TOKENS, VECTORS, WIDTH = 32, 96, 20, 32
MOST_CALLS, LEAST_RATIO = 200, 12.0
REPEATS = 8
SLOTS = ("front", 0.25, 0.5, 0.75, "end")

Arranged = Callable[[Tensor, Tensor], Tensor]


class Counter(TorchDispatchMode):
    """Counts the calls that reach tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.calls += 1
        return func(*args, **(kwargs or {}))


def a_batch() -> tuple[TokenBatch, Tensor]:
    lengths = tuple(TOKENS - 2 * row for row in range(ROWS))
    tokens = torch.randn(ROWS, TOKENS, WIDTH, generator=torch.Generator().manual_seed(1))
    return make_batch(tiny_backbone(), lengths, TOKENS), tokens


def chosen(choices: int) -> Tensor:
    draw = torch.Generator().manual_seed(2)
    index = torch.randint(choices, (ROWS,), generator=draw)
    return torch.nn.functional.one_hot(index, choices).float()


def a_prompt() -> Tensor:
    return torch.randn(VECTORS, WIDTH, generator=torch.Generator().manual_seed(3))


@cache
def a_gradient() -> Tensor:
    draw = torch.Generator().manual_seed(4)
    return torch.randn(ROWS, TOKENS + VECTORS, WIDTH, generator=draw)


def literal_cuts(batch: TokenBatch, tokens: Tensor, prompt: Tensor, share: Tensor) -> Tensor:
    """The mixture of all layouts, one row and one cut after the other."""
    rows = []
    for row, count in enumerate(batch.mask.sum(dim=1).tolist()):
        text, last = tokens[row], count - 1
        mixed = torch.zeros(TOKENS + VECTORS, WIDTH)
        for cut in range(VECTORS + 1):
            parts = [text[:1], prompt[:cut], text[1:last], prompt[cut:], text[last:]]
            mixed = mixed + share[row, cut] * torch.cat(parts)
        rows.append(mixed)
    return torch.stack(rows)


def our_cuts(batch: TokenBatch, tokens: Tensor, prompt: Tensor, share: Tensor) -> Tensor:
    facts, vectors = tiny_backbone().facts, prompt.expand(ROWS, -1, -1)
    return surround(tokens, batch, vectors, share.argmax(dim=1), facts, share=share).embeddings


def our_slots(batch: TokenBatch, tokens: Tensor, prompt: Tensor, share: Tensor) -> Tensor:
    facts, vectors = tiny_backbone().facts, prompt.expand(ROWS, -1, -1)
    slots = slot_places(batch, SLOTS, facts.lead)
    return insert(
        tokens, batch, vectors, slots, share.argmax(dim=1), facts, share=share
    ).embeddings  # fmt: skip


def trained(choices: int) -> tuple[Tensor, Tensor]:
    return a_prompt().requires_grad_(), chosen(choices).requires_grad_()


def there_and_back(arrange: Arranged, prompt: Tensor, share: Tensor) -> tuple[Tensor, ...]:
    """Rows, and the gradients of prompt and shares."""
    rows = arrange(prompt, share)
    return (rows.detach(), *torch.autograd.grad(rows, (prompt, share), a_gradient()))


def centred(gradient: Tensor) -> Tensor:
    """The gradient of shares up to a constant a row, which means nothing."""
    return gradient - gradient.mean(dim=1, keepdim=True)


@contextmanager
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def cpu_seconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


@pytest.mark.parametrize(
    ("arrange", "choices"), [(our_cuts, VECTORS + 1), (our_slots, len(SLOTS))], ids=["cut", "slot"]
)
def test_a_prompt_is_put_in_and_learns_its_place_in_two_hundred_calls(
    arrange: Callable[..., Tensor], choices: int
) -> None:
    batch, tokens = a_batch()
    prompt, share = trained(choices)
    a_gradient()
    with Counter() as counter:
        there_and_back(partial(arrange, batch, tokens), prompt, share)
    assert 20 < counter.calls <= MOST_CALLS


def cuts() -> tuple[Callable[[], tuple[Tensor, ...]], Callable[[], tuple[Tensor, ...]]]:
    """Our way and the literal one, on the same rows."""
    batch, tokens = a_batch()
    leaves = trained(VECTORS + 1)
    ours, theirs = partial(our_cuts, batch, tokens), partial(literal_cuts, batch, tokens)
    return partial(there_and_back, ours, *leaves), partial(there_and_back, theirs, *leaves)


def ratio() -> float:
    with one_thread():
        ours, theirs = cuts()
        fast, slow = cpu_seconds(ours), cpu_seconds(theirs)
    return slow / fast


def test_it_gives_what_the_literal_loops_give() -> None:
    ours, theirs = cuts()
    (rows, prompts, shares), (their_rows, their_prompts, their_shares) = ours(), theirs()
    # Padding is in both; the literal rows keep theirs in the same columns.
    assert torch.equal(rows, their_rows)
    torch.testing.assert_close(prompts, their_prompts, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(centred(shares), centred(their_shares), atol=1e-4, rtol=1e-5)


def test_it_takes_a_twelfth_of_the_literal_loops_time() -> None:
    # In a process of its own: here every call is also checked for its shapes.
    script = "from tests.bench.test_insertion import ratio; print(ratio())"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert float(done.stdout.split()[-1]) >= LEAST_RATIO
