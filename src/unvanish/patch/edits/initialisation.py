"""Writes initialisations as lines of `torch.nn.init` where the network is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from unvanish.patch.constructor_calls import ModuleOrigins
from unvanish.patch.edits.value_lines import MODULE, ValueLines, value_lines
from unvanish.patch.module_loops import LoopNames, ModuleStatements
from unvanish.patch.module_tree import ModuleTree
from unvanish.patch.network_places import NetworkPlace, network_places
from unvanish.patch.placed_statements import place_statements
from unvanish.patch.source.parsed_file import Project
from unvanish.patch.source.torch_names import name_module, name_or_import
from unvanish.patch.text_replacements import Draft
from unvanish.record.initial_values import InitialValues
from unvanish.record.network_changes import Edit, Plan
from unvanish.record.structure import Entry

_COMMENTS: Mapping[str, str] = MappingProxyType(
    {
        "selu": "SELU needs weights of variance 1 / fan_in (Klambauer et al. 2017, arXiv 1706.02515)",
        "tailored-activation": "the activations are made for orthogonal weights (Martens et al. 2021, arXiv 2110.01765)",
        "critical-init": "orthogonal at the critical scale (Schoenholz et al. 2017, arXiv 1611.01232)",
        "delta-orthogonal-init": "delta-orthogonal (Xiao et al. 2018, arXiv 1806.05393)",
        "zero-init-residual": "residual branches start at zero (Goyal et al. 2017, arXiv 1706.02677)",
        "identity-rnn-init": "the recurrence starts as the identity (Le et al. 2015, arXiv 1504.00941)",
        "forget-bias": "gates with a memory as long as the sequences (Tallec and Ollivier 2018, arXiv 1804.11188)",
    }
)
"""Where the numbers of a remedy come from, for those that do not speak for themselves."""


def initialise(
    draft: Draft, project: Project, origins: ModuleOrigins, entry: Entry | None, plan: Plan, remedy: str, edits: Sequence[Edit]
) -> None:
    """Adds the lines that initialise what some edits of a remedy do.

    Raises NotExpressible where they cannot be written, and TrialError where the weights were loaded ready-trained.
    """
    tree = ModuleTree(origins.by_path, plan)
    places = network_places(project, origins, entry, list(_by_module(edits)))
    place_statements(draft, places, lambda attempt, place, names: _lines(attempt, place, tree, names, remedy, edits))


def _lines(draft: Draft, place: NetworkPlace, tree: ModuleTree, names: LoopNames, remedy: str, edits: Sequence[Edit]) -> list[str]:
    """The lines for all edits at a place. The draft gets the imports that they need."""
    init = name_or_import(draft, place.source, place.scope, "torch.nn.init")
    torch = name_module(place.source, place.scope, "torch") or "torch"
    by_path = {path: value_lines(values, init=init, torch=torch) for path, values in _by_module(edits).items()}
    by_path = _with_optional_biases(by_path, tree, edits)
    needs_no_grad = any(each.needs_no_grad for each in by_path.values())
    statements = ModuleStatements(tree, place.expression, names, lambda kind: _class_code(draft, place, kind))
    lines = statements.lines(by_path)
    if needs_no_grad:
        torch = name_or_import(draft, place.source, place.scope, "torch")
        lines = [f"with {torch}.no_grad():", *(f"    {line}" for line in lines)]
    comment = _COMMENTS.get(remedy)
    return [f"# {comment}", *lines] if comment else lines


def _by_module(edits: Sequence[Edit]) -> Mapping[str, list[InitialValues]]:
    """The new values by the path of the module that has them."""
    by_module: dict[str, list[InitialValues]] = {}
    for values in (each for edit in edits for each in edit.values):
        by_module.setdefault(values.parameter.rpartition(".")[0], []).append(values)
    return by_module


def _with_optional_biases(by_path: Mapping[str, ValueLines], tree: ModuleTree, edits: Sequence[Edit]) -> dict[str, ValueLines]:
    """The same lines, with a condition about the bias where some modules of a kind have none, and their lines are equal else."""
    without_bias = {edit.path for edit in edits if "bias=False" in edit.before}
    changed = dict(by_path)
    for kind in {tree.kind(path) for path in without_bias} - {""}:
        of_kind = [path for path in by_path if tree.kind(path) == kind]
        bias_lines = {line for path in of_kind for line in by_path[path].lines if f"{MODULE}.bias" in line}
        if len(bias_lines) != 1 or not all(path in without_bias or len(bias_lines & set(by_path[path].lines)) for path in of_kind):
            continue
        (bias_line,) = bias_lines
        for path in of_kind:
            kept = tuple(line for line in by_path[path].lines if line != bias_line)
            shared = (*kept, f"if {MODULE}.bias is not None:", f"    {bias_line}")
            changed[path] = ValueLines(shared, by_path[path].needs_no_grad, by_path[path].lines)
    return changed


def _class_code(draft: Draft, place: NetworkPlace, kind: str) -> str:
    """The code of a class of torch.nn at a place."""
    return name_or_import(draft, place.source, place.scope, f"torch.nn.{kind}")
