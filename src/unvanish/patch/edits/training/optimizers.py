"""Changes the call that builds an optimizer: its settings, its class, and its learning rate."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import libcst as cst

from unvanish.errors import ScriptError, TrialError
from unvanish.patch.edits.numbers import format_number, scale_numbers, set_number
from unvanish.patch.edits.training.trainer_settings import scale_rate_in_trainer
from unvanish.patch.source.arguments import change_arguments
from unvanish.patch.source.parsed_file import Project, SourceFile, find_argument, has_star_arguments, literal_string
from unvanish.patch.source.torch_names import rename_class
from unvanish.patch.source.value_flow import Place, ValueFlow, uses_of
from unvanish.patch.text_replacements import Draft, NotExpressible
from unvanish.record.network_changes import Edit, EditTarget
from unvanish.record.structure import Entry

_DEFAULTS: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        "AdamW": MappingProxyType({"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01, "maximize": False}),
        "SGD": MappingProxyType(
            {"lr": 1e-3, "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False, "maximize": False}
        ),
    }
)
"""The settings of the optimizers that remedies build in the place of others, in their order, with torch's defaults."""

_EXECUTION_SETTINGS = frozenset({"params", "foreach", "fused", "capturable", "differentiable"})
"""Settings of how an optimizer computes, not of what: they stay."""

_ALWAYS_WRITTEN = frozenset({"lr"})
"""Settings that a person writes even where they are the default."""

_POSITIONS: Mapping[str, tuple[str, ...]] = MappingProxyType({"SGD": ("params", "lr", "momentum", "dampening", "weight_decay")})
_USUAL_POSITIONS = ("params", "lr")
_SCHEDULER_RATES: Mapping[str, tuple[str, ...]] = MappingProxyType({"OneCycleLR": ("max_lr",), "CyclicLR": ("base_lr", "max_lr")})
"""The learning rates that schedulers take, in the order of their arguments behind the optimizer."""

_MOST_CALL_DEPTH = 2
"""How many calls deep the construction of an optimizer is searched."""


@dataclass(frozen=True, slots=True)
class OptimizerCall:
    """The call that builds an optimizer, and its class."""

    source: SourceFile
    call: cst.Call
    class_name: str


@dataclass(frozen=True, slots=True)
class _TargetSetting:
    """The value that a setting is to have, and whether it has that value already."""

    value: object
    is_unchanged: bool = False


def change_settings(draft: Draft, project: Project, entry: Entry | None, edits: Sequence[Edit]) -> None:
    """Writes the class and settings that some edits give the optimizer into the call that builds it.

    Raises NotExpressible where the call cannot take them.
    """
    if len({edit.path for edit in edits}) != 1:
        raise NotExpressible("several optimizers are altered")
    settings: dict[str, _TargetSetting] = {}
    class_name, _ = parse_settings(edits[0].before)
    new_class, _ = parse_settings(edits[-1].after)
    for edit in edits:
        before, after = parse_settings(edit.before)[1], parse_settings(edit.after)[1]
        settings |= {name: _TargetSetting(value, name in before and before[name] == value) for name, value in after.items()}
    built = find_optimizer_call(project, entry, class_name, new_class)
    _require_one_group(project, {name for name, setting in settings.items() if not setting.is_unchanged})
    if new_class != class_name:
        _change_class(draft, project, built, new_class, settings)
    else:
        _write_settings(draft, project, built, settings)


def scale_rate(draft: Draft, project: Project, entry: Entry | None, factor: float) -> None:
    """Multiplies the learning rate that the optimizer is built with. Raises NotExpressible where it is not a literal number."""
    if scale_rate_in_trainer(draft, project, factor):
        return
    built = find_optimizer_call(project, entry)
    arg = _argument_named(built, "lr")
    if arg is None or has_star_arguments(built.call):
        raise NotExpressible(f"line {built.source.line(built.call)} gives no learning rate")
    _require_one_group(project, {"lr"})
    scale_numbers(draft, project, [(built.source, arg.value), *_scheduler_rates(project)], factor)


def _scheduler_rates(project: Project) -> list[Place]:
    """The learning rates that schedulers take, and set in the optimizer."""
    places: list[Place] = []
    for source in project.opened_files():
        for call in source.calls:
            names = _SCHEDULER_RATES.get(source.qualified_name(call.func).removeprefix("torch.optim.lr_scheduler."), ())
            rates = [find_argument(call, name, position) for position, name in enumerate(names, start=1)]
            places += ((source, rate.value) for rate in rates if rate is not None)
    return places


def parse_settings(text: str) -> tuple[str, dict[str, object]]:
    """An optimizer's class and settings from text such as "Adam(lr=0.1, eps=1e-08)".

    Raises NotExpressible for any other text, such as that of several parameter groups.
    """
    try:
        node = ast.parse(text, mode="eval").body
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.args:
            raise ValueError(text)
        return node.func.id, {k.arg: ast.literal_eval(k.value) for k in node.keywords if k.arg is not None}
    except (SyntaxError, ValueError) as fault:
        raise NotExpressible(f"{text} cannot be written where the optimizer is built") from fault


def class_before(edit: Edit) -> str:
    """The class of the optimizer that an edit alters, from text such as "Adam(lr=0.1)" or "Adam, rate warmed up"."""
    return edit.before.partition("(")[0].partition(",")[0]


def replaces_optimizer(edit: Edit) -> bool:
    """Whether an edit replaces an optimizer by one of another class."""
    try:
        return edit.target is EditTarget.OPTIMIZER and parse_settings(edit.before)[0] != parse_settings(edit.after)[0]
    except NotExpressible:
        return False


def scale_new_rate(edit: Edit, factor: float) -> Edit:
    """An edit with the learning rate of its new optimizer multiplied. Raises TrialError where it names none."""
    class_name, settings = parse_settings(edit.after)
    if not isinstance(rate := settings.get("lr"), float):
        raise TrialError(f"{edit.after} names no learning rate that could be multiplied")
    settings["lr"] = float(f"{rate * factor:.12g}")
    return replace(edit, after=f"{class_name}({', '.join(f'{name}={value!r}' for name, value in settings.items())})")


# The call that builds it


def find_optimizer_call(project: Project, entry: Entry | None, class_name: str = "", new: str = "") -> OptimizerCall:
    """The call that builds the optimizer of a class (or of any), or one of the class `new` already.

    That is the call that takes the network by the name which the entry has; else the only such call in the statement at the entry,
    in the functions that it calls, or anywhere. Raises NotExpressible where there is none, or several.
    """
    if entry is None:
        raise NotExpressible("no line is known that builds the optimizer")
    source = project[Path(entry.location.file)]
    statements = [
        statement for call in source.calls_at(entry.location.line) if (statement := source.statement_of(call)) is not None
    ]
    in_statement = list({id(call): call for each in statements for call in source.find_all(cst.Call, each)}.values())
    everywhere = [(each, call) for each in project.opened_files() for call in each.calls]
    taking_network = [(source, call) for call in source.calls if _takes_network(source, call, entry.expression)]
    for calls in (
        taking_network,
        [(source, call) for call in in_statement],
        list(_calls_inside(project, source, in_statement)),
        everywhere,
    ):
        candidates = [OptimizerCall(where, call, _optimizer_class(project, where, call)) for where, call in calls]
        for name in dict.fromkeys((class_name, new)):
            matches = [each for each in candidates if each.class_name and each.class_name == (name or each.class_name)]
            if len(matches) == 1:
                return matches[0]
            if matches and calls is not taking_network:
                raise NotExpressible(
                    f"several {name or 'optimizers'} are built, and it is not clear which of them trains the network"
                )
    raise NotExpressible(f"no line is known that builds {class_name or 'the optimizer'} by its name")


def _optimizer_class(project: Project, source: SourceFile, call: cst.Call) -> str:
    """The class of optimizer that a call builds: by its name, or by a value that is traced to it; "" for any other call."""
    if source.qualified_name(call.func) or not isinstance(call.func, cst.Name) or not call.args:
        return source.optimizer_class(call.func)
    try:
        places = ValueFlow(project, lambda where, node: bool(where.optimizer_class(node))).origins(source, call.func)
    except NotExpressible:
        return ""
    return places[0][0].optimizer_class(places[0][1]) if len(places) == 1 else ""


def optimizer_line(project: Project, entry: Entry, edits: Sequence[Edit]) -> int:
    """The line that builds the optimizer of some edits, in the file of the entry; the entry's own line where that is not clear."""
    classes = set(map(class_before, edits))
    try:
        built = find_optimizer_call(project, entry, *(classes if len(classes) == 1 else ()))
    except (NotExpressible, ScriptError):
        return entry.location.line
    return built.source.line(built.call) if built.source.path == Path(entry.location.file) else entry.location.line


def _takes_network(source: SourceFile, call: cst.Call, expression: str) -> bool:
    """Whether the first argument of a call contains the expression by which the entry names the network."""
    return bool(call.args) and any(source.code_of(node) == expression for node in source.find_all(cst.BaseExpression, call.args[0]))


def _calls_inside(
    project: Project, source: SourceFile, calls: Sequence[cst.Call], depth: int = _MOST_CALL_DEPTH
) -> Iterator[tuple[SourceFile, cst.Call]]:
    """The calls in the bodies of the user's functions that some calls run."""
    names = {source.code_of(call.func).rpartition(".")[2] for call in calls}
    for where in project.opened_files():
        for function in (each for each in where.find_all(cst.FunctionDef) if each.name.value in names):
            uses = {id(node) for each, node in uses_of(project, where, function) if each is source}
            if any(id(call.func) in uses for call in calls):
                inner_calls = where.find_all(cst.Call, function)
                yield from ((where, call) for call in inner_calls)
                if depth > 1:
                    yield from _calls_inside(project, where, inner_calls, depth - 1)


def _require_one_group(project: Project, names: set[str]) -> None:
    """Raises NotExpressible where a group of parameters has a setting of its own that is to change."""
    for source in project.opened_files():
        for group in source.find_all(cst.Dict):
            keys = {literal_string(entry.key) for entry in group.elements if isinstance(entry, cst.DictElement)}
            if "params" in keys and (own := sorted(names & {key for key in keys if key is not None})):
                raise NotExpressible(f"line {source.line(group)} gives a group of parameters a {own[0]} of its own")


# Its arguments


def _write_settings(draft: Draft, project: Project, built: OptimizerCall, settings: Mapping[str, _TargetSetting]) -> None:
    """Changes the settings in the call, and adds those that it lacks."""
    source, call = built.source, built.call
    added: list[str] = []
    for name, setting in settings.items():
        arg = _argument_named(built, name)
        if setting.is_unchanged:
            continue
        if arg is not None:
            _write_value(draft, project, source, arg, name, setting.value)
        elif has_star_arguments(call):
            raise NotExpressible(f"line {source.line(call)} passes arguments that are not written out")
        else:
            added.append(f"{name}={_format_value(setting.value)}")
    change_arguments(draft, source, call, add=added)


def _change_class(
    draft: Draft, project: Project, built: OptimizerCall, new_class: str, settings: Mapping[str, _TargetSetting]
) -> None:
    """Changes the class that the call builds, and keeps those of its arguments which that class has."""
    source, call = built.source, built.call
    if not source.optimizer_class(call.func):
        raise NotExpressible(f"line {source.line(call)} builds the optimizer from a class that is passed to it")
    if (
        new_class not in _DEFAULTS
        or has_star_arguments(call)
        or len([arg for arg in call.args if arg.keyword is None]) > len(_USUAL_POSITIONS)
    ):
        raise NotExpressible(f"line {source.line(call)} builds the optimizer in a way that {new_class} does not take")
    defaults = _DEFAULTS[new_class]
    rename_class(draft, source, call.func, new_class)
    known = {*_EXECUTION_SETTINGS, *defaults}
    dropped = [arg for arg in call.args if arg.keyword is not None and arg.keyword.value not in known]
    added: list[str] = []
    for name, default in defaults.items():
        setting, arg = settings.get(name, _TargetSetting(default)), _argument_named(built, name)
        if arg is None:
            if setting.value != default or (name in _ALWAYS_WRITTEN and not setting.is_unchanged and built.class_name != new_class):
                added.append(f"{name}={_format_value(setting.value)}")
        elif setting.value == default and name not in _ALWAYS_WRITTEN and not _is_literal(source, arg, default):
            dropped.append(arg)
        elif not setting.is_unchanged:
            _write_value(draft, project, source, arg, name, setting.value)
    change_arguments(draft, source, call, drop=dropped, add=added)


def _argument_named(built: OptimizerCall, name: str) -> cst.Arg | None:
    """The argument of a name, whether by name or by position."""
    names = _POSITIONS.get(built.class_name, _USUAL_POSITIONS)
    return find_argument(built.call, name, names.index(name) if name in names else None)


def _is_literal(source: SourceFile, arg: cst.Arg, value: object) -> bool:
    """Whether an argument is written as a literal of a value."""
    try:
        return bool(ast.literal_eval(source.code_of(arg.value)) == value)
    except (SyntaxError, ValueError):
        return False


def _write_value(draft: Draft, project: Project, source: SourceFile, arg: cst.Arg, name: str, value: object) -> None:
    """Changes an argument to a value: a number where its literal stands, anything else in the call itself.

    Raises NotExpressible for a learning rate that the callers of a function pass, and for one that is computed.
    """
    if _is_literal(source, arg, value):
        return
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            set_number(draft, project, source, arg.value, float(value))
            return
    except NotExpressible:
        if name == "lr" and not _is_variable(source, arg.value):
            raise
    draft.replace(source, source.start(arg.value), source.end(arg.value), _format_value(value))


def _is_variable(source: SourceFile, node: cst.BaseExpression) -> bool:
    """Whether an expression is a name that is no parameter of a function."""
    assignments = source.assignments(node.value, node) if isinstance(node, cst.Name) else []
    return bool(assignments) and not any(isinstance(getattr(each, "node", None), cst.Param) for each in assignments)


def _format_value(value: object) -> str:
    return format_number(float(value)) if isinstance(value, int | float) and not isinstance(value, bool) else repr(value)
