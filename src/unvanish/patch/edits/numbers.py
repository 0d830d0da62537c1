"""Changes numbers where their literals stand: in a call, in a variable or default that it reads, or in the call that passes it.

A number that something else reads too stays.
"""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst

from unvanish.patch.source.parsed_file import Project, SourceFile, find_argument, literal_number, literal_string
from unvanish.patch.source.value_flow import Place, ValueFlow
from unvanish.patch.text_replacements import Draft, NotExpressible


def set_number(draft: Draft, project: Project, source: SourceFile, node: cst.BaseExpression, value: float) -> None:
    """Changes the literal of an expression to a value. Raises NotExpressible where something else reads it too."""
    literals = _literals_of(project, (source, node))
    if len(literals) != 1:
        raise NotExpressible(f"line {source.line(node)} gets its number from several places")
    ((where, literal),) = literals
    if literal_number(literal) != value:
        draft.replace(where, where.start(literal), where.end(literal), format_number(value, where.code_of(literal)))


def scale_numbers(draft: Draft, project: Project, places: Sequence[Place], factor: float) -> None:
    """Multiplies the literals of some expressions. Raises NotExpressible where something else reads them too."""
    for where, literal in _literals_of(project, *places):
        present = literal_number(literal)
        if present is None:
            raise NotExpressible(f"line {where.line(literal)} does not tell a number")
        text = format_number(float(f"{present * factor:.3g}"), where.code_of(literal))
        draft.replace(where, where.start(literal), where.end(literal), text)


def _literals_of(project: Project, *expressions: Place) -> list[Place]:
    """The literals that give some expressions their numbers, each once.

    Raises NotExpressible where they cannot be traced, or something else reads them.
    """
    flow, literals = ValueFlow(project, _is_number), dict[int, Place]()
    for source, node in expressions:
        option = _option_default(project, source, node) or _settings_field(project, source, node)
        places = [option] if option is not None else flow.origins(source, node)
        literals |= {id(literal): (where, literal) for where, literal in places}
    if not flow.is_exclusive():
        raise NotExpressible(f"what line {expressions[0][0].line(expressions[0][1])} reads is read elsewhere too")
    return list(literals.values())


def _is_number(source: SourceFile, node: cst.BaseExpression) -> bool:
    del source
    return literal_number(node) is not None


def _option_default(project: Project, source: SourceFile, node: cst.BaseExpression) -> Place | None:
    """The default of the command line option that an expression such as `args.lr` reads; None for any other expression."""
    if not isinstance(node, cst.Attribute) or not isinstance(node.value, cst.Name):
        return None
    try:
        ((where, _),) = ValueFlow(project, _is_parse_args).origins(source, node.value)
    except (NotExpressible, ValueError):
        return None
    flag = f"--{node.attr.value.replace('_', '-')}"
    defaults: list[Place] = []
    for call in where.calls:
        if isinstance(call.func, cst.Attribute) and call.func.attr.value == "add_argument":
            names = {(literal_string(arg.value) or "").replace("_", "-") for arg in call.args if arg.keyword is None}
            default = find_argument(call, "default")
            if flag in names and default is not None and literal_number(default.value) is not None:
                defaults.append((where, default.value))
    uses = [each for each in source.find_all(cst.Attribute) if source.code_of(each) == source.code_of(node)]
    return defaults[0] if len(defaults) == len(uses) == 1 else None


def _settings_field(project: Project, source: SourceFile, node: cst.BaseExpression) -> Place | None:
    """The number in the body of a class of settings that an expression such as `config.lr` reads; None for any other expression."""
    if not isinstance(node, cst.Attribute) or not isinstance(node.value, cst.Name):
        return None
    classes = {owner.name.value: (each, owner) for each in project.opened_files() for owner in each.find_all(cst.ClassDef)}
    try:
        ((where, built),) = ValueFlow(project, lambda at, each: _class_name(at, each) in classes).origins(source, node.value)
    except (NotExpressible, ValueError):
        return None
    name = node.attr.value
    source, owner = classes[_class_name(where, built)]
    arguments = list(built.args) if isinstance(built, cst.Call) else []
    uses = [each for file in project.opened_files() for each in file.find_all(cst.Attribute) if each.attr.value == name]
    values = [each.value for each in source.find_all(cst.AnnAssign, owner) if source.code_of(each.target) == name]
    values += [each.value for each in source.find_all(cst.Assign, owner) if source.code_of(each.targets[0].target) == name]
    if arguments or len(uses) != 1 or len(values) != 1 or values[0] is None or literal_number(values[0]) is None:
        return None
    return source, values[0]


def _class_name(source: SourceFile, node: cst.BaseExpression) -> str:
    """The class that an expression names or instantiates."""
    return source.code_of(node.func if isinstance(node, cst.Call) else node)


def _is_parse_args(source: SourceFile, node: cst.BaseExpression) -> bool:
    del source
    return isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute) and node.func.attr.value == "parse_args"


def format_number(value: float, like: str = "") -> str:
    """A number as a person writes it: "1e-8", not "1e-08".

    `like` is the literal that it replaces, whose notation it keeps: "1e-3" after "1e-4", and "0.001" after "0.0001".

    Example:
        >>> format_number(1e-08), format_number(0.001, like="1e-4"), format_number(10)
        ('1e-8', '1e-3', '10.0')
    """
    short = f"{value:.3g}"
    text = short if float(short) == value else repr(value)
    power = f"{value:.0e}"
    if "e" in like.lower() and float(power) == value and not 0.1 <= abs(value) < 100.0:
        text = power
    mantissa, has_exponent, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent)}" if has_exponent else f"{text}.0" if text.lstrip("-").isdigit() else text
