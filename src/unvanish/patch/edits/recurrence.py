"""Vanilla recurrence exchanged where it is built: `nn.RNN(...)` becomes `nn.GRU(...)`, or `nn.LSTM(...)` with a forget gate that is
open at first, where what the code does with the hidden state stays right."""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst

from unvanish.patch.draft import Draft, Unsayable, only
from unvanish.patch.edits.insertions import require_no_loading
from unvanish.patch.module_calls import Births, Building
from unvanish.patch.module_spelling import modules_of
from unvanish.patch.source.arguments import altered
from unvanish.patch.source.parsed_file import Project, Source, argument, starred, string
from unvanish.patch.source.torch_names import module_there, renamed_class
from unvanish.record.change import Edit

VANILLA = frozenset({"RNN", "RNNCell"})
_NEW = {"GRU": "GRU", "GRUCell": "GRUCell", "LSTMAsRNN": "LSTM"}
_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def is_recurrence(edit: Edit) -> bool:
    """Whether an edit puts a module in the place of vanilla recurrence of torch."""
    return edit.action == "replace" and edit.before.partition("(")[0] in VANILLA


def exchange(draft: Draft, project: Project, births: Births, edits: Sequence[Edit]) -> None:
    """Has the calls that built vanilla recurrence build what the edits put there. Raises Unsayable where that does not suffice."""
    require_no_loading(project)
    for building in births.buildings(draft, edits):
        after = only((modules_of(e.after)[0].kind for e in building.edits.values()), "different modules are put in there")
        if after not in _NEW:
            raise Unsayable(f"{after} keeps its state in a way of its own")
        kind, source, call = _NEW[after], building.source, building.call
        if source.module_class(call.func) == kind:
            continue
        _require_unread(project)
        if source.module_class(call.func) not in VANILLA or starred(call):
            raise Unsayable(f"line {source.line(call)} builds its recurrence from what is passed to it")
        if kind == "LSTM":
            _remember(draft, building)
        nonlinearity = argument(call, "nonlinearity")
        renamed_class(draft, source, call.func, kind)
        altered(draft, source, call, drop=[nonlinearity] if nonlinearity is not None else [])


def _require_unread(project: Project) -> None:
    """Raises Unsayable where the source names the weights of a recurrent layer, which are of another shape then."""
    for source in project.known():
        named = [each for each in source.all_of(cst.Attribute) if each.attr.value.startswith(_WEIGHTS)]
        told = [each for each in source.all_of(cst.SimpleString) if any(word in (string(each) or "") for word in _WEIGHTS)]
        for node in (*named, *told):
            raise Unsayable(f"line {source.line(node)} names the weights of a recurrent layer")


# LSTM


def _remember(draft: Draft, building: Building) -> None:
    """Opens the forget gate of an LSTM of one layer, on the lines behind the one that builds it."""
    source, call = building.source, building.call
    target, hidden = _target(source, call), argument(call, "hidden_size", 1)
    layers, both, bias = (argument(call, name) for name in ("num_layers", "bidirectional", "bias"))
    if hidden is None or layers is not None or both is not None or bias is not None or len(_positional(call)) > 2:
        raise Unsayable(f"line {source.line(call)} builds more than one plain layer")
    _unpack_hidden(draft, source, target)
    width = source.written(hidden.value)
    if not isinstance(hidden.value, cst.Name | cst.Integer | cst.Attribute):
        raise Unsayable(f"line {source.line(call)} computes its width")
    line = source.statement(call)
    start = source.start(line) if line is not None else 0
    indent, init = source.indentation(start), module_there(source, call, "torch.nn.init")
    if line is None or indent is None or init is None or source.text_of_line(source.line_at(source.end(line))).count(";"):
        raise Unsayable(f"line {source.line(call)} is not alone on its line")
    gate = f"[{width}:{2 * int(width)}]" if width.isdigit() else f"[{width} : 2 * {width}]"
    lines = (
        f"{init}.ones_({target}.bias_ih_l0.data{gate})  # the forget gate, open at first",
        f"{init}.zeros_({target}.bias_hh_l0.data{gate})",
    )
    at = source.offset(source.line_at(source.end(line)) + 1)
    before = "" if source.data[:at].endswith((b"\n", b"\r")) else source.ending
    draft.put(source, at, at, before + "".join(f"{indent}{each}{source.ending}" for each in lines))


def _positional(call: cst.Call) -> list[cst.Arg]:
    return [arg for arg in call.args if arg.keyword is None]


def _target(source: Source, call: cst.Call) -> str:
    statement = source.parent(call)
    if isinstance(statement, cst.Assign) and len(statement.targets) == 1:
        target = statement.targets[0].target
        if isinstance(target, cst.Attribute) and isinstance(target.value, cst.Name) and target.value.value == "self":
            return source.written(target)
    raise Unsayable(f"line {source.line(call)} builds its recurrence in no attribute of its own")


def _unpack_hidden(draft: Draft, source: Source, target: str) -> None:
    """Has every call of the layer take the hidden state out of the pair that an LSTM returns.

    Raises Unsayable where one passes a state, or does not name what comes back.
    """
    for node in source.all_of(cst.Attribute):
        call = source.parent(node)
        if source.written(node) != target or isinstance(call, cst.AssignTarget):
            continue
        if not isinstance(call, cst.Call) or call.func is not node or len(call.args) != 1 or starred(call):
            raise Unsayable(f"line {source.line(node)} hands the hidden state on")
        above = source.parent(call)
        if isinstance(above, cst.Subscript) and source.written(above).removeprefix(source.written(call)).strip("[] ") == "0":
            continue
        second = _second(above.targets[0].target) if isinstance(above, cst.Assign) and len(above.targets) == 1 else None
        if second is None:
            raise Unsayable(f"line {source.line(node)} does not name the hidden state that comes back")
        if any(access for each in source.assignments(second.value, second) for access in each.references):
            draft.put(source, source.start(second), source.end(second), f"({second.value}, _)")


def _second(target: cst.BaseAssignTargetExpression) -> cst.Name | None:
    """The second of two names that take what comes back."""
    if not isinstance(target, cst.Tuple) or len(target.elements) != 2:
        return None
    second = target.elements[1].value
    return second if isinstance(second, cst.Name) else None
