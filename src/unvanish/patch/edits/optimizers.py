"""The optimizer where it is built: its settings, its class, and its learning rate."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import libcst as cst

from unvanish.errors import ScriptError, TrialError
from unvanish.patch.draft import Draft, Unsayable
from unvanish.patch.edits.numbers import scale_numbers, set_number, spelled
from unvanish.patch.source.arguments import altered
from unvanish.patch.source.parsed_file import Project, Source, argument, starred, string
from unvanish.patch.source.torch_names import renamed_class
from unvanish.patch.source.value_flow import Flow, Place, uses_of
from unvanish.record.change import Edit
from unvanish.record.structure import Entry

_SETTINGS: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        "AdamW": MappingProxyType({"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01, "maximize": False}),
        "SGD": MappingProxyType(
            {"lr": 1e-3, "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False, "maximize": False}
        ),
    }
)
"""The settings of the optimizers that remedies put in the place of others, in their order, with torch's defaults."""

_OF_THE_MACHINE = frozenset({"params", "foreach", "fused", "capturable", "differentiable"})
"""What says how an optimizer computes, and not what: it stays."""

_ALWAYS = frozenset({"lr"})
"""What a person writes down even where it is the default."""

_POSITIONS: Mapping[str, tuple[str, ...]] = MappingProxyType({"SGD": ("params", "lr", "momentum", "dampening", "weight_decay")})
_USUAL = ("params", "lr")
_PEAKS: Mapping[str, tuple[str, ...]] = MappingProxyType({"OneCycleLR": ("max_lr",), "CyclicLR": ("base_lr", "max_lr")})
"""The rates that schedulers are given, in the order of their arguments behind the optimizer."""

_MOST_CALLS = 2
"""How many calls deep the building of an optimizer is looked for."""


@dataclass(frozen=True, slots=True)
class Built:
    """The call that builds an optimizer, and its class."""

    source: Source
    call: cst.Call
    kind: str


@dataclass(frozen=True, slots=True)
class _Setting:
    """The value that a setting is to have; `kept` where it is that of before."""

    value: object
    kept: bool = False


def alter(draft: Draft, project: Project, entry: Entry | None, edits: Sequence[Edit]) -> None:
    """Has the optimizer be built with the settings, and of the class, that some edits give it. Raises Unsayable where it cannot."""
    if len({edit.path for edit in edits}) != 1:
        raise Unsayable("several optimizers are altered")
    wanted: dict[str, _Setting] = {}
    kind, _ = settings_of(edits[0].before)
    new, _ = settings_of(edits[-1].after)
    for edit in edits:
        before, after = settings_of(edit.before)[1], settings_of(edit.after)[1]
        wanted |= {name: _Setting(value, name in before and before[name] == value) for name, value in after.items()}
    built = building(project, entry, kind, new)
    _require_one_group(project, {name for name, setting in wanted.items() if not setting.kept})
    if new != kind:
        _become(draft, project, built, new, wanted)
    else:
        _set(draft, project, built, wanted)


def scale_rate(draft: Draft, project: Project, entry: Entry | None, factor: float) -> None:
    """Has the optimizer be built with a multiple of its learning rate. Raises Unsayable where no number for it is written down."""
    built = building(project, entry)
    arg = _given(built, "lr")
    if arg is None or starred(built.call):
        raise Unsayable(f"line {built.source.line(built.call)} gives no learning rate")
    _require_one_group(project, {"lr"})
    scale_numbers(draft, project, [(built.source, arg.value), *_peaks(project)], factor)


def _peaks(project: Project) -> list[Place]:
    """The rates of their own that schedulers are given, which the optimizer's gives way to."""
    found: list[Place] = []
    for source in project.known():
        for call in source.calls:
            names = _PEAKS.get(source.qualified(call.func).removeprefix("torch.optim.lr_scheduler."), ())
            given = [argument(call, name, at) for at, name in enumerate(names, start=1)]
            found += ((source, arg.value) for arg in given if arg is not None)
    return found


def settings_of(text: str) -> tuple[str, dict[str, object]]:
    """An optimizer's class and settings from "Adam(lr=0.1, eps=1e-08)". Raises Unsayable for several groups, and for anything
    else."""
    try:
        node = ast.parse(text, mode="eval").body
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.args:
            raise ValueError(text)
        return node.func.id, {k.arg: ast.literal_eval(k.value) for k in node.keywords if k.arg is not None}
    except (SyntaxError, ValueError) as fault:
        raise Unsayable(f"{text} cannot be written where the optimizer is built") from fault


def is_of_optimizer(edit: Edit) -> bool:
    """Whether an edit is of an optimizer, and not of the network."""
    return edit.path == "optimizer" or edit.path.startswith("optimizers[")


def exchanges(edit: Edit) -> bool:
    """Whether an edit puts an optimizer of another class in the place of one."""
    try:
        return is_of_optimizer(edit) and settings_of(edit.before)[0] != settings_of(edit.after)[0]
    except Unsayable:
        return False


def at_rate(edit: Edit, factor: float) -> Edit:
    """An edit with the learning rate of the optimizer that it leads to multiplied. Raises TrialError where it names none."""
    kind, settings = settings_of(edit.after)
    if not isinstance(rate := settings.get("lr"), float):
        raise TrialError(f"{edit.after} names no learning rate that could be multiplied")
    settings["lr"] = float(f"{rate * factor:.12g}")
    return replace(edit, after=f"{kind}({', '.join(f'{name}={value!r}' for name, value in settings.items())})")


# Where it is built


def building(project: Project, entry: Entry | None, kind: str = "", new: str = "") -> Built:
    """The call that builds the optimizer of a class (or any), or of the `new` one already.

    That is the one that names the network, as the entry does; else one in the statement at the entry, in what that calls, or
    anywhere, if it is alone there. Raises Unsayable where that cannot be told.
    """
    if entry is None:
        raise Unsayable("no line is known that builds the optimizer")
    source = project[Path(entry.location.file)]
    statements = [statement for call in source.calls_at(entry.location.line) if (statement := source.statement(call)) is not None]
    inside = list({id(call): call for each in statements for call in source.all_of(cst.Call, each)}.values())
    everywhere = [(each, call) for each in project.known() for call in each.calls]
    naming = [(source, call) for call in source.calls if _names(source, call, entry.expression)]
    for calls in (naming, [(source, call) for call in inside], list(_called(project, source, inside)), everywhere):
        built = [Built(where, call, _kind(project, where, call)) for where, call in calls]
        for each in dict.fromkeys((kind, new)):
            found = [one for one in built if one.kind and one.kind == (each or one.kind)]
            if len(found) == 1:
                return found[0]
            if found and calls is not naming:
                raise Unsayable(f"several {each or 'optimizers'} are built, and it is not clear which of them trains the network")
    raise Unsayable(f"no line is known that builds {kind or 'the optimizer'} by its name")


def _kind(project: Project, source: Source, call: cst.Call) -> str:
    """The class of optimizer that a call builds: by its name, or by a value that is traced to it; "" for any other call."""
    if source.qualified(call.func) or not isinstance(call.func, cst.Name) or not call.args:
        return source.optimizer_class(call.func)
    try:
        origins = Flow(project, lambda where, node: bool(where.optimizer_class(node))).origins(source, call.func)
    except Unsayable:
        return ""
    return origins[0][0].optimizer_class(origins[0][1]) if len(origins) == 1 else ""


def line_behind(project: Project, entry: Entry, edits: Sequence[Edit]) -> int:
    """The line at which the optimizer of some edits is built, in the file of the entry; the entry's own where that is not clear."""
    kinds = {edit.before.partition("(")[0].partition(",")[0] for edit in edits}
    try:
        built = building(project, entry, *(kinds if len(kinds) == 1 else ()))
    except (Unsayable, ScriptError):
        return entry.location.line
    return built.source.line(built.call) if built.source.path == Path(entry.location.file) else entry.location.line


def _names(source: Source, call: cst.Call, expression: str) -> bool:
    """Whether the first argument of a call reads the network by the name that it has at the entry."""
    read = [source.written(each) for each in source.all_of(cst.BaseExpression, call.args[0])] if call.args else []
    return expression in read


def _called(
    project: Project, source: Source, calls: Sequence[cst.Call], depth: int = _MOST_CALLS
) -> Iterator[tuple[Source, cst.Call]]:
    """The calls inside the user's functions that some calls call."""
    names = {source.written(call.func).rpartition(".")[2] for call in calls}
    for where in project.known():
        for function in (each for each in where.all_of(cst.FunctionDef) if each.name.value in names):
            uses = {id(node) for each, node in uses_of(project, where, function) if each is source}
            if any(id(call.func) in uses for call in calls):
                inside = where.all_of(cst.Call, function)
                yield from ((where, call) for call in inside)
                if depth > 1:
                    yield from _called(project, where, inside, depth - 1)


def _require_one_group(project: Project, names: set[str]) -> None:
    """Raises Unsayable where a group of parameters has a setting of its own that is to change."""
    for source in project.known():
        for group in source.all_of(cst.Dict):
            keys = {string(entry.key) for entry in group.elements if isinstance(entry, cst.DictElement)}
            if "params" in keys and (own := sorted(names & {key for key in keys if key is not None})):
                raise Unsayable(f"line {source.line(group)} gives a group of parameters a {own[0]} of its own")


# What it is built with


def _set(draft: Draft, project: Project, built: Built, wanted: Mapping[str, _Setting]) -> None:
    source, call = built.source, built.call
    added: list[str] = []
    for name, setting in wanted.items():
        arg = _given(built, name)
        if setting.kept:
            continue
        if arg is not None:
            _put(draft, project, source, arg, name, setting.value)
        elif starred(call):
            raise Unsayable(f"line {source.line(call)} passes arguments that are not written out")
        else:
            added.append(f"{name}={_spelled(setting.value)}")
    altered(draft, source, call, add=added)


def _become(draft: Draft, project: Project, built: Built, kind: str, wanted: Mapping[str, _Setting]) -> None:
    """Another class, with those of the arguments that it knows."""
    source, call = built.source, built.call
    if not source.optimizer_class(call.func):
        raise Unsayable(f"line {source.line(call)} builds the optimizer from a class that is passed to it")
    if kind not in _SETTINGS or starred(call) or len([arg for arg in call.args if arg.keyword is None]) > len(_USUAL):
        raise Unsayable(f"line {source.line(call)} builds the optimizer in a way that {kind} does not take")
    defaults = _SETTINGS[kind]
    renamed_class(draft, source, call.func, kind)
    known = {*_OF_THE_MACHINE, *defaults}
    dropped = [arg for arg in call.args if arg.keyword is not None and arg.keyword.value not in known]
    added: list[str] = []
    for name, default in defaults.items():
        setting, arg = wanted.get(name, _Setting(default)), _given(built, name)
        if arg is None:
            if setting.value != default or (name in _ALWAYS and not setting.kept and built.kind != kind):
                added.append(f"{name}={_spelled(setting.value)}")
        elif setting.value == default and name not in _ALWAYS and not _says(source, arg, default):
            dropped.append(arg)
        elif not setting.kept:
            _put(draft, project, source, arg, name, setting.value)
    altered(draft, source, call, drop=dropped, add=added)


def _given(built: Built, name: str) -> cst.Arg | None:
    """The argument of that name, which may be given by position."""
    names = _POSITIONS.get(built.kind, _USUAL)
    return argument(built.call, name, names.index(name) if name in names else None)


def _says(source: Source, arg: cst.Arg, value: object) -> bool:
    """Whether an argument is a value that is written there as such."""
    try:
        return bool(ast.literal_eval(source.written(arg.value)) == value)
    except (SyntaxError, ValueError):
        return False


def _put(draft: Draft, project: Project, source: Source, arg: cst.Arg, name: str, value: object) -> None:
    """Has an argument be a value: a number where it is written down, or else in the call itself.

    Raises Unsayable for a learning rate that the callers of a function pass, and for one that is computed.
    """
    if _says(source, arg, value):
        return
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            set_number(draft, project, source, arg.value, float(value))
            return
    except Unsayable:
        if name == "lr" and not _is_variable(source, arg.value):
            raise
    draft.put(source, source.start(arg.value), source.end(arg.value), _spelled(value))


def _is_variable(source: Source, node: cst.BaseExpression) -> bool:
    """Whether an expression is a name that no caller gives a value."""
    found = source.assignments(node.value, node) if isinstance(node, cst.Name) else []
    return bool(found) and not any(isinstance(getattr(each, "node", None), cst.Param) for each in found)


def _spelled(value: object) -> str:
    return spelled(float(value)) if isinstance(value, int | float) and not isinstance(value, bool) else repr(value)
