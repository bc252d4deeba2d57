from __future__ import annotations

import pytest
import torch

from core.training.streams import generator, seed_of, seeded_library_draws


def test_equal_keys_give_equal_draws_and_other_keys_others() -> None:
    first = torch.rand(8, generator=generator(1, 2, "site"))
    assert torch.equal(first, torch.rand(8, generator=generator(1, 2, "site")))
    for other in ((2, 2, "site"), (1, 3, "site"), (1, 2, "other")):
        assert not torch.equal(first, torch.rand(8, generator=generator(*other)))


def test_parts_of_a_key_do_not_run_together() -> None:
    assert seed_of(1, 12, "x") != seed_of(11, 2, "x")
    assert 0 <= seed_of(0, 0, "") < 2**63


def test_the_seed_is_the_same_in_every_version() -> None:
    assert seed_of(0, 0, "order") == 4264380080743074063


def test_the_global_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    torch.rand(4, generator=generator(0, 0, "a"))
    with seeded_library_draws(0, 5, "dropout", torch.device("cpu")):
        inside = torch.rand(4)
    assert torch.equal(before, torch.random.get_rng_state())
    with seeded_library_draws(0, 5, "dropout", torch.device("cpu")):
        assert torch.equal(inside, torch.rand(4))


def test_the_global_generator_is_restored_after_an_error() -> None:
    before = torch.random.get_rng_state()

    def failing() -> None:
        with seeded_library_draws(0, 0, "dropout", torch.device("cpu")):
            torch.rand(1)
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        failing()
    assert torch.equal(before, torch.random.get_rng_state())
