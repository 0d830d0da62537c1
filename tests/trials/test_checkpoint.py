"""Tests of the proof of a checkpoint: a network saved after a few steps, loaded into another one that was just built."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unvanish.observe.first_network_call import FirstCall
from unvanish.record.races.candidate import CONTROL
from unvanish.trials import Script
from unvanish.trials.checkpoint import LOADED_FOLDER, SAVED_FOLDER, CheckpointProof, load_state, read_proof, save_state
from unvanish.trials.trial import Trial

BATCH = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))


class Shifted(nn.Module):
    """Adds the running mean of its inputs, which it keeps outside of its state."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.shift = nn.Linear(4, 2), torch.zeros(4)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.shift = self.shift + x.detach().mean(0)
        return self.layer(x + self.shift)


class Noisy(nn.Module):
    """Adds noise in evaluation too, from a generator of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.generator = nn.Linear(4, 2), torch.Generator()

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x + torch.randn(x.shape, generator=self.generator))


def proof_of(
    build: Callable[[], nn.Module], folder: Path, *, args: tuple[Any, ...] = (BATCH,), fresh: Any = None
) -> CheckpointProof:
    """The proof for a network that is built, trained and saved, and for another one that loads it."""
    trained = build()
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.1)
    call = FirstCall(trained, (BATCH,), {}, (), optimizers=(optimizer,))
    for name in (SAVED_FOLDER, LOADED_FOLDER):
        (folder / name).mkdir()
    save_state(call, trial(folder / SAVED_FOLDER))
    for _ in range(4):
        trained.train()
        trained(BATCH).square().mean().backward()
        optimizer.step()
    proof = read_proof(folder / SAVED_FOLDER)
    if proof is None:
        load_state(FirstCall((fresh or build)(), (BATCH,), {}, ()), trial(folder / LOADED_FOLDER))
        proof = read_proof(folder / LOADED_FOLDER)
    assert proof is not None
    return proof


def trial(folder: Path) -> Trial:
    return Trial(Script(folder / "train.py"), CONTROL, 0, folder)


def normalised() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2))


def test_a_network_whose_state_is_all_that_it_is_survives(tmp_path: Path) -> None:
    assert proof_of(normalised, tmp_path) == CheckpointProof(True)


def test_what_a_network_keeps_outside_of_its_state_is_lost(tmp_path: Path) -> None:
    proof = proof_of(Shifted, tmp_path)
    assert proof.holds is False
    assert "outputs differ" in proof.why


def test_a_state_that_does_not_fit_is_told_in_torchs_words(tmp_path: Path) -> None:
    proof = proof_of(normalised, tmp_path, fresh=lambda: nn.Sequential(nn.Linear(4, 8)))
    assert proof.holds is False
    assert "Unexpected key(s) in state_dict" in proof.why
    assert "\n" not in proof.why


@pytest.mark.parametrize(
    ("build", "args", "why"),
    [(Noisy, (BATCH,), "differ from call to call"), (normalised, (BATCH, threading.Lock()), "could not be evaluated")],
)
def test_what_cannot_be_judged_is_no_failure(
    build: Callable[[], nn.Module], args: tuple[Any, ...], why: str, tmp_path: Path
) -> None:
    (tmp_path / SAVED_FOLDER).mkdir()
    save_state(FirstCall(build(), args, {}, ()), trial(tmp_path / SAVED_FOLDER))
    proof = read_proof(tmp_path / SAVED_FOLDER)
    assert proof is not None
    assert proof.holds is None
    assert why in proof.why


def test_saving_leaves_training_and_random_state_as_they_were(tmp_path: Path) -> None:
    network = normalised()
    network[1].eval()
    modes, random_state = [module.training for module in network.modules()], torch.get_rng_state()
    save_state(FirstCall(network, (BATCH,), {}, ()), trial(tmp_path))
    assert [module.training for module in network.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random_state)
