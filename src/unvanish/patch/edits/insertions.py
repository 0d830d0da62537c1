"""Inserts normalisations where the layers are built.

`nn.Linear(a, b), nn.Sigmoid()` becomes `nn.Linear(a, b), nn.BatchNorm1d(b), nn.Sigmoid()`, and a layer whose activation is a
functional call becomes `nn.Sequential(nn.Linear(a, b), nn.BatchNorm1d(b))`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import libcst as cst

from unvanish.patch.constructor_calls import WEIGHTED, ConstructorCall, ModuleOrigins
from unvanish.patch.edits.written_definitions import is_in_definition, name_class
from unvanish.patch.module_expressions import NORMALISATIONS, ModuleSpec, feature_count, normalisation_arguments, parse_modules
from unvanish.patch.source.parsed_file import Project, SourceFile, find_argument, has_star_arguments, literal_number
from unvanish.patch.source.torch_names import name_class_like
from unvanish.patch.text_replacements import Draft, NotExpressible, only_value
from unvanish.record.network_changes import Edit

_NEUTRAL = frozenset({"Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "Identity"})
_LAYER_ATTRIBUTES = frozenset({"weight", "bias", "in_features", "out_features", "in_channels", "out_channels", "kernel_size"})
"""Attributes of a layer that an nn.Sequential around it does not have."""


def insert(draft: Draft, project: Project, origins: ModuleOrigins, edits: Sequence[Edit]) -> None:
    """Inserts the normalisations of some edits. Raises NotExpressible where one cannot be written in place."""
    require_no_loading(project)
    for constructor in origins.constructor_calls(draft, edits):
        pairs = [parse_modules(edit.after) for edit in constructor.edits.values()]
        if any(len(pair) != 2 for pair in pairs):
            raise NotExpressible("what is put in is no single module")
        first_class = only_value((pair[0].class_name for pair in pairs), "different modules are put in there")
        only_value(("".join(map(_settings_of, pair)) for pair in pairs), "normalisations of several settings are put in there")
        if first_class in WEIGHTED:
            _wrap_layer(draft, project, constructor)
        else:
            _insert_before(draft, origins, constructor)
    for edit in edits:
        path = draft.aliases.get(edit.path, edit.path)
        first_class = parse_modules(edit.after)[0].class_name
        draft.aliases[f"{edit.path}.{0 if first_class in WEIGHTED else 1}"] = path


def _settings_of(module: ModuleSpec) -> str:
    """The class and arguments of a normalisation besides its width; "" for any other module."""
    return f"{module.class_name}{module.positional[:-1]}{module.named}" if module.class_name in NORMALISATIONS else ""


def require_no_loading(project: Project) -> None:
    """Raises NotExpressible where the source loads weights, which would not fit a network of another structure."""
    if any(each.attr.value == "load_state_dict" for source in project.opened_files() for each in source.find_all(cst.Attribute)):
        raise NotExpressible("the source loads weights, which have to fit the network as it is built")


# Between a layer and its activation


def _insert_before(draft: Draft, origins: ModuleOrigins, constructor: ConstructorCall) -> None:
    """Writes a normalisation in front of an activation, for the features of the layer before that."""
    source, call = constructor.source, constructor.call
    norm = parse_modules(next(iter(constructor.edits.values())).after)[0]
    if source.module_class(_previous_module(source, call, skip=frozenset()).func) == norm.class_name:
        return
    layer = _layer_before(origins, draft, constructor)
    require_no_indexing(source, call)
    width = _layer_width(source, layer, norm)
    text = f"{name_class(draft, source, call.func, norm.class_name)}({normalisation_arguments(norm, width)})"
    append = _append_call(source, call)
    if append is not None:
        indent = source.indentation(source.start(append))
        if indent is None:
            raise NotExpressible(f"line {source.line(call)} has several statements")
        line = f"{source.code_of(append.func)}({text}){source.line_ending}{indent}"
        draft.replace(source, source.start(append), source.start(append), line)
        return
    indent = source.indentation(source.start(call))
    between = f",{source.line_ending}{indent}" if indent is not None else ", "
    draft.replace(source, source.start(call), source.start(call), f"{text}{between}")


def _layer_before(origins: ModuleOrigins, draft: Draft, constructor: ConstructorCall) -> cst.Call:
    """The call right before that of an activation, where it builds the input layer of each activation built there and no other."""
    source, call = constructor.source, constructor.call
    layer = _previous_module(source, call, skip=_NEUTRAL)
    class_name = source.module_class(layer.func)
    if class_name not in WEIGHTED:
        raise NotExpressible(f"line {source.line(call)} does not show which layer feeds the activation")
    paths = dict.fromkeys(draft.aliases.get(path, path) for path in constructor.edits)
    input_layers = [_input_layer(origins, path) for path in paths]
    layer_line = replace(origins.line_of(draft, input_layers[0]), class_name=class_name)
    turns = origins.paths_by_call(layer_line)
    built_layers = next((built for where, each, built in turns if where is source and each is layer), [])
    if sorted(built_layers) != sorted(input_layers):
        raise NotExpressible(f"line {source.line(layer)} builds a {class_name} too that no activation follows")
    return layer


def _input_layer(origins: ModuleOrigins, path: str) -> str:
    """The path of the weighted layer that comes before a module in the same sequence."""
    parent, _, name = path.rpartition(".")
    if not name.isdigit():
        raise NotExpressible(f"{path!r} is in no sequence")
    for index in reversed(range(int(name))):
        earlier = f"{parent}.{index}".lstrip(".")
        class_name = origins.by_path[earlier].class_name if earlier in origins.by_path else ""
        if class_name in WEIGHTED:
            return earlier
        if class_name not in _NEUTRAL:
            break
    raise NotExpressible(f"{path!r} follows no layer in its sequence")


def _previous_module(source: SourceFile, call: cst.Call, *, skip: frozenset[str]) -> cst.Call:
    """The call of the module written before another one: the element or argument before it, or what was appended before."""
    item = source.parent(call)
    sequence = source.parent(item) if item is not None else None
    items: Sequence[cst.CSTNode] = ()
    if isinstance(item, cst.Arg) and isinstance(sequence, cst.Call) and source.module_class(sequence.func) == "Sequential":
        items = [argument.value for argument in sequence.args]
    elif isinstance(item, cst.Element) and isinstance(sequence, cst.List | cst.Tuple):
        items = [element.value for element in sequence.elements]
    elif (append := _append_call(source, call)) is not None:
        items = _appended_modules(source, append)
    position = next((index for index, each in enumerate(items) if each is call), 0)
    for earlier in reversed(items[:position]):
        if not isinstance(earlier, cst.Call) or source.module_class(earlier.func) not in skip:
            if isinstance(earlier, cst.Call):
                return earlier
            break
    raise NotExpressible(f"line {source.line(call)} does not show what comes before the activation")


def _append_call(source: SourceFile, call: cst.Call) -> cst.Call | None:
    """The call layers.append(...) that has the module's as its argument."""
    argument = source.parent(call)
    append = source.parent(argument) if isinstance(argument, cst.Arg) else None
    if not isinstance(append, cst.Call) or not isinstance(append.func, cst.Attribute) or append.func.attr.value != "append":
        return None
    return append if isinstance(source.parent(append), cst.Expr) else None


def _appended_modules(source: SourceFile, append: cst.Call) -> list[cst.CSTNode]:
    """What consecutive statements of a block append to the same list, up to a given one of them."""
    expression = source.parent(append)
    line = source.parent(expression) if expression is not None else None
    block = source.parent(line) if line is not None else None
    modules: list[cst.CSTNode] = []
    for statement in block.body if isinstance(block, cst.IndentedBlock | cst.Module) else ():
        inner = statement.body[0] if isinstance(statement, cst.SimpleStatementLine) and len(statement.body) == 1 else None
        call = inner.value if isinstance(inner, cst.Expr) and isinstance(inner.value, cst.Call) else None
        if call is None or source.code_of(call.func) != source.code_of(append.func) or len(call.args) != 1:
            modules = []
            continue
        modules.append(call.args[0].value)
        if call is append:
            return modules
    return []


def require_no_indexing(source: SourceFile, call: cst.Call) -> None:
    """Raises NotExpressible where the source indexes or counts the modules of a sequence, which an insertion would shift."""
    sequences = _sequence_names(source, call)
    for node in source.find_all(cst.Subscript):
        if source.code_of(node.value) in sequences:
            raise NotExpressible(f"line {source.line(node)} counts the modules of {source.code_of(node.value)}")
    for node in source.calls:
        counts = source.code_of(node.func) in ("enumerate", "len") or (
            isinstance(node.func, cst.Attribute)
            and node.func.attr.value in ("pop", "insert")
            and source.code_of(node.func.value) in sequences
        )
        if counts and (not node.args or source.code_of(node.args[0].value) in sequences or isinstance(node.func, cst.Attribute)):
            raise NotExpressible(f"line {source.line(node)} counts the modules of the sequence")


def _sequence_names(source: SourceFile, call: cst.Call) -> set[str]:
    """The names under which the source has the sequence that a module is built for."""
    append = _append_call(source, call)
    names = {source.code_of(append.func.value)} if append is not None and isinstance(append.func, cst.Attribute) else set[str]()
    statement = source.statement_of(call)
    if isinstance(statement, cst.Assign):
        names |= {source.code_of(target.target) for target in statement.targets}
    elif isinstance(statement, cst.AugAssign | cst.AnnAssign):
        names.add(source.code_of(statement.target))
    for assign in source.find_all(cst.Assign):
        arguments = {source.code_of(arg.value) for each in source.find_all(cst.Call, assign) for arg in each.args}
        if not names.isdisjoint(arguments):
            names |= {source.code_of(target.target) for target in assign.targets}
    return names


# Around a layer


def _wrap_layer(draft: Draft, project: Project, constructor: ConstructorCall) -> None:
    """Writes a layer as nn.Sequential(layer, norm), where nothing reads an attribute that only the layer has."""
    source, call = constructor.source, constructor.call
    for file, node in attribute_reads(project):
        raise NotExpressible(f"line {file.line(node)} of {file.path.name} reads {node.attr.value} of a layer")
    if source.module_class(call.func) not in WEIGHTED:
        raise NotExpressible(f"line {source.line(call)} builds its layer from a class that is passed to it")
    norm = parse_modules(next(iter(constructor.edits.values())).after)[1]
    arg = source.parent(call)
    parent = source.parent(arg) if isinstance(arg, cst.Arg) else None
    if isinstance(parent, cst.Call) and source.module_class(parent.func) == "Sequential" and len(parent.args) == 2:
        second = parent.args[1].value
        if isinstance(second, cst.Call) and source.module_class(second.func) == norm.class_name:
            return
    width = _layer_width(source, call, norm)
    sequential = name_class_like(draft, source, call.func, "Sequential")
    inner = f"{name_class(draft, source, call.func, norm.class_name)}({normalisation_arguments(norm, width)})"
    draft.replace(source, source.start(call), source.start(call), f"{sequential}(")
    draft.replace(source, source.end(call), source.end(call), f", {inner})")


def is_unpacked(source: SourceFile, sequence: cst.CSTNode) -> bool:
    """Whether a sequence is assigned to several names, so that it cannot get another item."""
    return isinstance(source.parent(sequence), cst.Assign | cst.AnnAssign) and isinstance(sequence, cst.Tuple)


def attribute_reads(project: Project) -> list[tuple[SourceFile, cst.Attribute]]:
    """Where the source reads an attribute that a layer has and an nn.Sequential around it has not."""
    nodes = [(file, node) for file in project.opened_files() for node in file.find_all(cst.Attribute)]
    return [(file, node) for file, node in nodes if node.attr.value in _LAYER_ATTRIBUTES and not is_in_definition(file, node)]


def _layer_width(source: SourceFile, layer: cst.Call, norm: ModuleSpec) -> str:
    """The code of the number of a layer's output features. Raises NotExpressible where it cannot be repeated."""
    arg = find_argument(layer, "out_features", 1) or find_argument(layer, "out_channels", 1)
    if arg is None or has_star_arguments(layer) or not is_repeatable(arg.value):
        raise NotExpressible(f"line {source.line(layer)} does not write down plainly how many features the layer puts out")
    width = literal_number(arg.value)
    if width is not None and width != feature_count(norm):
        raise NotExpressible(f"line {source.line(layer)} builds a layer of another width")
    return source.code_of(arg.value)


def is_repeatable(node: cst.CSTNode) -> bool:
    """Whether an expression has the same value when it is evaluated twice: names, numbers, sums and products of them."""
    match node:
        case cst.Name() | cst.Integer():
            return True
        case cst.Attribute():
            return is_repeatable(node.value)
        case cst.BinaryOperation():
            return is_repeatable(node.left) and is_repeatable(node.right)
        case cst.Subscript():
            return is_repeatable(node.value) and all(_is_repeatable_index(each.slice) for each in node.slice)
        case _:
            return False


def _is_repeatable_index(node: cst.BaseSlice) -> bool:
    if not isinstance(node, cst.Index):
        return False
    value = node.value
    return is_repeatable(value) or literal_number(value) is not None or isinstance(value, cst.SimpleString)
