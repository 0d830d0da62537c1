"""A number changed where it stands: in the call, in the variable or default argument that the call reads, or in the one call that
passes it. A number that something else reads too stays."""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst

from unvanish.patch.draft import Draft, Unsayable
from unvanish.patch.source.parsed_file import Project, Source, argument, number, string
from unvanish.patch.source.value_flow import Flow, Place


def set_number(draft: Draft, project: Project, source: Source, node: cst.BaseExpression, value: float) -> None:
    """Has an expression be a number, changed where it is written down. Raises Unsayable where it is not for this use alone."""
    places = _written(project, (source, node))
    if len(places) != 1:
        raise Unsayable(f"line {source.line(node)} gets its number from several places")
    ((where, place),) = places
    if number(place) != value:
        draft.put(where, where.start(place), where.end(place), spelled(value, where.written(place)))


def scale_numbers(draft: Draft, project: Project, places: Sequence[Place], factor: float) -> None:
    """Has expressions be a multiple of the numbers that they are. Raises Unsayable where something else reads those too."""
    for where, place in _written(project, *places):
        present = number(place)
        if present is None:
            raise Unsayable(f"line {where.line(place)} does not tell a number")
        draft.put(where, where.start(place), where.end(place), spelled(float(f"{present * factor:.3g}"), where.written(place)))


def _written(project: Project, *expressions: Place) -> list[Place]:
    """Where the numbers of some expressions are written down, each place once.

    Raises Unsayable where that cannot be told, or something else reads them.
    """
    flow, found = Flow(project, _told), dict[int, Place]()
    for source, node in expressions:
        option = _option(project, source, node) or _field(project, source, node)
        places = [option] if option is not None else flow.origins(source, node)
        found |= {id(place): (where, place) for where, place in places}
    if not flow.closed():
        raise Unsayable(f"what line {expressions[0][0].line(expressions[0][1])} reads is read elsewhere too")
    return list(found.values())


def _told(source: Source, node: cst.BaseExpression) -> bool:
    del source
    return number(node) is not None


def _option(project: Project, source: Source, node: cst.BaseExpression) -> Place | None:
    """The default of the command line option that an expression such as `args.lr` reads; None where it is no such thing."""
    if not isinstance(node, cst.Attribute) or not isinstance(node.value, cst.Name):
        return None
    try:
        ((where, _),) = Flow(project, _parses).origins(source, node.value)
    except (Unsayable, ValueError):
        return None
    flag = f"--{node.attr.value.replace('_', '-')}"
    found: list[Place] = []
    for call in where.calls:
        if isinstance(call.func, cst.Attribute) and call.func.attr.value == "add_argument":
            names = {(string(arg.value) or "").replace("_", "-") for arg in call.args if arg.keyword is None}
            default = argument(call, "default")
            if flag in names and default is not None and number(default.value) is not None:
                found.append((where, default.value))
    uses = [each for each in source.all_of(cst.Attribute) if source.written(each) == source.written(node)]
    return found[0] if len(found) == len(uses) == 1 else None


def _field(project: Project, source: Source, node: cst.BaseExpression) -> Place | None:
    """The number that a class of settings has in its body for an expression such as `config.lr`; None where it is no such thing."""
    if not isinstance(node, cst.Attribute) or not isinstance(node.value, cst.Name):
        return None
    classes = {kind.name.value: (each, kind) for each in project.known() for kind in each.all_of(cst.ClassDef)}
    try:
        ((where, built),) = Flow(project, lambda at, each: _class_name(at, each) in classes).origins(source, node.value)
    except (Unsayable, ValueError):
        return None
    name = node.attr.value
    home, kind = classes[_class_name(where, built)]
    given = list(built.args) if isinstance(built, cst.Call) else []
    uses = [each for file in project.known() for each in file.all_of(cst.Attribute) if each.attr.value == name]
    values = [each.value for each in home.all_of(cst.AnnAssign, kind) if home.written(each.target) == name]
    values += [each.value for each in home.all_of(cst.Assign, kind) if home.written(each.targets[0].target) == name]
    if given or len(uses) != 1 or len(values) != 1 or values[0] is None or number(values[0]) is None:
        return None
    return home, values[0]


def _class_name(source: Source, node: cst.BaseExpression) -> str:
    """The class that an expression names, or builds an object of."""
    return source.written(node.func if isinstance(node, cst.Call) else node)


def _parses(source: Source, node: cst.BaseExpression) -> bool:
    del source
    return isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute) and node.func.attr.value == "parse_args"


def spelled(value: float, like: str = "") -> str:
    """A number as a person writes it: 1e-8 for 1e-08. `like` is what stood there before: 1e-3 follows 1e-4, and 0.001 0.0001."""
    short = f"{value:.3g}"
    text = short if float(short) == value else repr(value)
    power = f"{value:.0e}"
    if "e" in like.lower() and float(power) == value and not 0.1 <= abs(value) < 100.0:
        text = power
    mantissa, e, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent)}" if e else f"{text}.0" if text.lstrip("-").isdigit() else text
