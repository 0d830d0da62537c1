"""What a trial does to prove a checkpoint: saves the network after a few steps, or loads that into a network that was just built.

`save_state` and `load_state` run in the trial's process, in place of the trace at the first step, and only they import torch;
`read_proof` reads what they wrote.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from unvanish.observe.first_network_call import FirstCall
    from unvanish.trials.trial import Trial

SAVE_FUNCTION, LOAD_FUNCTION = "unvanish.trials.checkpoint:save_state", "unvanish.trials.checkpoint:load_state"
SAVED_FOLDER, LOADED_FOLDER = "saved", "loaded"
"""The folders of the two trials, side by side: the second finds there what the first has saved."""

STATE_FILE, PROOF_FILE = "network.pt", "checkpoint.json"
SAVE_STEPS = 3  # after which weights, and statistics that a network gathers, are no longer those that it was built with
TOLERANCE = 1e-3  # difference of two outputs, relative to their size, that rounding explains on any device and in half precision


@dataclass(frozen=True, slots=True)
class CheckpointProof:
    """Whether a network that was saved and loaded computes the same; `holds` is None where that could not be judged, for `why`."""

    holds: bool | None = None
    why: str = ""


def save_state(call: FirstCall, trial: Trial) -> None:
    """Saves the network's state, the first batch and its outputs of it, after each of the first steps of its optimizer."""
    if not call.optimizers:
        _save(call, trial.folder)
        return
    steps_left = iter(reversed(range(SAVE_STEPS)))

    def save_after_step(*_: Any) -> None:
        _save(call, trial.folder)
        if not next(steps_left):
            handle.remove()

    handle = call.optimizers[0].register_step_post_hook(save_after_step)


def load_state(call: FirstCall, trial: Trial) -> None:
    """Loads a saved state strictly into the network before its first step, and compares the outputs of the saved batch."""
    import torch

    file = trial.folder.with_name(SAVED_FOLDER) / STATE_FILE
    if not file.is_file():
        return
    try:
        saved = torch.load(file, weights_only=False)  # our own file, which may hold inputs of any class
    except Exception as fault:
        _write(trial.folder, CheckpointProof(why=f"its file could not be read again ({_describe(fault)})"))
        return
    try:
        call.model.load_state_dict(saved["state"])
        call.args, call.kwargs = saved["inputs"]
        outputs = _outputs(call)
    except Exception as fault:
        _write(trial.folder, CheckpointProof(False, _describe(fault)))
        return
    difference = _difference(saved["outputs"], outputs)
    why = f"its outputs differ by {difference:.0%} of their size from those that it had when it was saved"
    _write(trial.folder, CheckpointProof(True) if difference <= TOLERANCE else CheckpointProof(False, why))


def read_proof(folder: Path) -> CheckpointProof | None:
    """The proof that a trial left in its folder; None where there is none."""
    path = folder / PROOF_FILE
    return CheckpointProof(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def _save(call: FirstCall, folder: Path) -> None:
    import torch

    try:
        outputs = _outputs(call)
        if _difference(outputs, _outputs(call)) > TOLERANCE:
            _write(folder, CheckpointProof(why="the network's outputs of one batch differ from call to call"))
            return
        content = {"state": call.model.state_dict(), "inputs": (call.args, call.kwargs), "outputs": outputs}
        torch.save(content, folder / STATE_FILE)
    except Exception as fault:  # of the user's forward, or of what cannot be pickled
        _write(folder, CheckpointProof(why=f"the network could not be evaluated and saved ({_describe(fault)})"))


def _write(folder: Path, proof: CheckpointProof) -> None:
    (folder / PROOF_FILE).write_text(json.dumps(asdict(proof)), encoding="utf-8")


def _describe(fault: Exception) -> str:
    """An error in one line."""
    text = " ".join(str(fault).split()) or type(fault).__name__
    return text.rstrip(".")


def _outputs(call: FirstCall) -> list[Tensor]:
    """The tensors that the network puts out for its batch in evaluation mode, from a fixed state of the random generators."""
    import torch
    from torch.utils._pytree import tree_leaves

    from unvanish.network.autocast import autocasting
    from unvanish.network.random_state import preserved_random_state

    training = [(module, module.training) for module in call.model.modules()]
    with preserved_random_state(), torch.no_grad(), autocasting(call.autocasts):
        torch.manual_seed(0)
        call.model.eval()
        try:
            outputs = call.model(*call.args, **call.kwargs)
        finally:
            for module, mode in training:
                module.training = mode
    return [leaf.detach().clone() for leaf in tree_leaves(outputs) if isinstance(leaf, torch.Tensor)]


def _difference(one: list[Tensor], other: list[Tensor]) -> float:
    """The largest difference of two lists of tensors, relative to the root mean square of each; inf where they are no pairs."""
    import torch

    if [tensor.shape for tensor in one] != [tensor.shape for tensor in other]:
        return math.inf
    largest = 0.0
    for first, second in zip(one, other, strict=True):
        a, b = (torch.nan_to_num(tensor.cpu().to(torch.float64)).flatten() for tensor in (first, second))
        if a.numel():
            largest = max(largest, float((a - b).abs().max() / a.square().mean().sqrt().clamp(min=1e-30)))
    return largest
