"""Replaces vanilla recurrence where it is built: `nn.RNN(...)` becomes `nn.GRU(...)`, or `nn.LSTM(...)` with an open forget gate.

It does so only where the code that uses the hidden state stays right.
"""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst

from unvanish.patch.constructor_calls import ConstructorCall, ModuleOrigins
from unvanish.patch.edits.insertions import require_no_loading
from unvanish.patch.module_expressions import parse_modules
from unvanish.patch.source.arguments import change_arguments
from unvanish.patch.source.parsed_file import Project, SourceFile, find_argument, has_star_arguments, literal_string
from unvanish.patch.source.torch_names import name_module, rename_class
from unvanish.patch.text_replacements import Draft, NotExpressible, only_value
from unvanish.record.network_changes import Edit

VANILLA = frozenset({"RNN", "RNNCell"})
_TORCH_CLASSES = {"GRU": "GRU", "GRUCell": "GRUCell", "LSTMAsRNN": "LSTM"}
_WEIGHT_PREFIXES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def is_recurrence(edit: Edit) -> bool:
    """Whether an edit replaces a vanilla recurrent layer or cell of torch."""
    return edit.action == "replace" and edit.before.partition("(")[0] in VANILLA


def exchange(
    draft: Draft, project: Project, origins: ModuleOrigins, edits: Sequence[Edit], *, opens_forget_gate: bool = True
) -> None:
    """Changes the calls that built vanilla recurrence to build its replacements. Raises NotExpressible where that is not enough.

    `opens_forget_gate` says whether an LSTM's forget gate gets a bias of one; another remedy may set it.
    """
    require_no_loading(project)
    for constructor in origins.constructor_calls(draft, edits):
        new_class = only_value(
            (parse_modules(e.after)[0].class_name for e in constructor.edits.values()), "different modules are put in there"
        )
        if new_class in VANILLA:
            _rectify(draft, constructor)
            continue
        if new_class not in _TORCH_CLASSES:
            raise NotExpressible(f"{new_class} keeps its state in a way of its own")
        class_name, source, call = _TORCH_CLASSES[new_class], constructor.source, constructor.call
        if source.module_class(call.func) == class_name:
            continue
        _require_no_weight_access(project)
        if source.module_class(call.func) not in VANILLA or has_star_arguments(call):
            raise NotExpressible(f"line {source.line(call)} builds its recurrence from what is passed to it")
        if class_name == "LSTM":
            _open_forget_gate(draft, constructor, writes_bias=opens_forget_gate)
        nonlinearity = find_argument(call, "nonlinearity")
        rename_class(draft, source, call.func, class_name)
        change_arguments(draft, source, call, drop=[nonlinearity] if nonlinearity is not None else [])


def _rectify(draft: Draft, constructor: ConstructorCall) -> None:
    """Changes a call that builds vanilla recurrence with tanh to build it with ReLU."""
    source, call = constructor.source, constructor.call
    if source.module_class(call.func) not in VANILLA or has_star_arguments(call) or len(_positional_arguments(call)) > 3:
        raise NotExpressible(f"line {source.line(call)} builds its recurrence from what is passed to it")
    nonlinearity = find_argument(call, "nonlinearity")
    if nonlinearity is None:
        change_arguments(draft, source, call, add=['nonlinearity="relu"'])
    elif literal_string(nonlinearity.value) == "tanh":
        code = source.code_of(nonlinearity.value)
        draft.replace(source, source.start(nonlinearity.value), source.end(nonlinearity.value), code.replace("tanh", "relu"))
    elif literal_string(nonlinearity.value) != "relu":
        raise NotExpressible(f"line {source.line(call)} chooses the nonlinearity elsewhere")


def _require_no_weight_access(project: Project) -> None:
    """Raises NotExpressible where the source names the weights of a recurrent layer: the new ones have another shape."""
    for source in project.opened_files():
        attributes = [each for each in source.find_all(cst.Attribute) if each.attr.value.startswith(_WEIGHT_PREFIXES)]
        strings = [each for each in source.find_all(cst.SimpleString) if _names_weight(literal_string(each) or "")]
        for node in (*attributes, *strings):
            raise NotExpressible(f"line {source.line(node)} names the weights of a recurrent layer")


def _names_weight(text: str) -> bool:
    return any(prefix in text for prefix in _WEIGHT_PREFIXES)


# LSTM


def _open_forget_gate(draft: Draft, constructor: ConstructorCall, *, writes_bias: bool) -> None:
    """Changes the code that uses an LSTM of one layer, and adds lines that set the bias of its forget gate to one."""
    source, call = constructor.source, constructor.call
    target, hidden = _target_attribute(source, call), find_argument(call, "hidden_size", 1)
    has_options = any(find_argument(call, name) is not None for name in ("num_layers", "bidirectional", "bias"))
    if hidden is None or has_options or len(_positional_arguments(call)) > 2:
        raise NotExpressible(f"line {source.line(call)} builds more than one plain layer")
    _unpack_hidden(draft, source, target)
    if not writes_bias:
        return
    width = source.code_of(hidden.value)
    if not isinstance(hidden.value, cst.Name | cst.Integer | cst.Attribute):
        raise NotExpressible(f"line {source.line(call)} computes its width")
    statement = source.statement_of(call)
    start = source.start(statement) if statement is not None else 0
    indent, init = source.indentation(start), name_module(source, call, "torch.nn.init")
    if statement is None or indent is None or init is None or source.text_of_line(source.line_at(source.end(statement))).count(";"):
        raise NotExpressible(f"line {source.line(call)} is not alone on its line")
    gate = f"[{width}:{2 * int(width)}]" if width.isdigit() else f"[{width} : 2 * {width}]"
    lines = (
        f"{init}.ones_({target}.bias_ih_l0.data{gate})  # the forget gate, open at first",
        f"{init}.zeros_({target}.bias_hh_l0.data{gate})",
    )
    offset = source.offset(source.line_at(source.end(statement)) + 1)
    ending_before = "" if source.data[:offset].endswith((b"\n", b"\r")) else source.line_ending
    draft.replace(source, offset, offset, ending_before + "".join(f"{indent}{each}{source.line_ending}" for each in lines))


def _positional_arguments(call: cst.Call) -> list[cst.Arg]:
    return [arg for arg in call.args if arg.keyword is None]


def _target_attribute(source: SourceFile, call: cst.Call) -> str:
    """The attribute of self to which a call is assigned."""
    statement = source.parent(call)
    if isinstance(statement, cst.Assign) and len(statement.targets) == 1:
        target = statement.targets[0].target
        if isinstance(target, cst.Attribute) and isinstance(target.value, cst.Name) and target.value.value == "self":
            return source.code_of(target)
    raise NotExpressible(f"line {source.line(call)} builds its recurrence in no attribute of its own")


def _unpack_hidden(draft: Draft, source: SourceFile, target: str) -> None:
    """Changes every call of the layer to unpack the hidden state from the pair that an LSTM returns.

    Raises NotExpressible where one passes a state, or does not name what comes back.
    """
    for node in source.find_all(cst.Attribute):
        call = source.parent(node)
        if source.code_of(node) != target or isinstance(call, cst.AssignTarget):
            continue
        if not isinstance(call, cst.Call) or call.func is not node or len(call.args) != 1 or has_star_arguments(call):
            raise NotExpressible(f"line {source.line(node)} hands the hidden state on")
        parent = source.parent(call)
        if isinstance(parent, cst.Subscript) and source.code_of(parent).removeprefix(source.code_of(call)).strip("[] ") == "0":
            continue
        second = _second_name(parent.targets[0].target) if isinstance(parent, cst.Assign) and len(parent.targets) == 1 else None
        if second is None:
            raise NotExpressible(f"line {source.line(node)} does not name the hidden state that comes back")
        if any(access for each in source.assignments(second.value, second) for access in each.references):
            draft.replace(source, source.start(second), source.end(second), f"({second.value}, _)")


def _second_name(target: cst.BaseAssignTargetExpression) -> cst.Name | None:
    """The second of two names to which a tuple is unpacked."""
    if not isinstance(target, cst.Tuple) or len(target.elements) != 2:
        return None
    second = target.elements[1].value
    return second if isinstance(second, cst.Name) else None
