"""Changes a class or function that a string chooses: `ACTS[key]()`, `getattr(nn, key)()`, or `if key == "tanh": return nn.Tanh()`.

Where the new class is among the options, the key is changed and not the options, so that each key keeps its meaning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import libcst as cst

from unvanish.patch.source.parsed_file import Project, SourceFile, literal_string
from unvanish.patch.source.value_flow import ValueFlow
from unvanish.patch.text_replacements import Draft, NotExpressible


@dataclass(frozen=True, slots=True)
class Choice:
    """An expression that is a key, and what each key stands for: expressions that hold a class or a function, or build or call one.

    Without options, the key is itself the name of a class or function of torch. `comparisons` are the expressions that compare the
    key.
    """

    selector: cst.BaseExpression
    options: Mapping[str, tuple[SourceFile, cst.CSTNode]] | None
    comparisons: tuple[cst.BaseExpression, ...] = ()

    def key_for(self, name: str) -> str | None:
        """The key of a class or function; None where there is none."""
        if self.options is None:
            return name
        return next((key for key, (source, node) in self.options.items() if _refers_to(source, node, name)), None)

    def stands_for(self, key: str, name: str) -> bool:
        """Whether a key stands for a class or function."""
        return (
            normalise_name(key) == normalise_name(name)
            if self.options is None
            else key in self.options and _refers_to(*self.options[key], name)
        )


def choice_at(project: Project, source: SourceFile, node: cst.BaseExpression) -> Choice | None:
    """The choice that an expression makes; None where it makes none."""
    if isinstance(node, cst.Subscript):
        return _dictionary_choice(project, source, node)
    if isinstance(node, cst.Call) and source.code_of(node.func) == "getattr" and len(node.args) == 2:
        module = source.qualified_name(node.args[0].value)
        return Choice(node.args[1].value, None) if module in ("torch", "torch.nn", "torch.nn.functional") else None
    return None


def choice_around(source: SourceFile, node: cst.BaseExpression, name: str) -> Choice | None:
    """The choice of which a branch contains an expression, under a key that spells the name of a class or function.

    Raises NotExpressible where a dictionary contains it under such a key, since the choice is made elsewhere then.
    """
    child: cst.CSTNode = node
    for ancestor in source.ancestors(node):
        if isinstance(ancestor, cst.FunctionDef | cst.ClassDef):
            return None
        if isinstance(ancestor, cst.DictElement) and _is_spelling_of(literal_string(ancestor.key), name):
            raise NotExpressible(f"line {source.line(node)} is what a word stands for, which is chosen elsewhere")
        if isinstance(ancestor, cst.If) and ancestor.body is child:
            comparison = _comparison(ancestor)
            if comparison is not None and _is_spelling_of(comparison[1], name):
                branches = list(_compared_keys(source, ancestor, source.code_of(comparison[0])))
                options = {key: (source, branch) for key, _, branch in branches}
                return Choice(comparison[0], options, tuple(selector for _, selector, _ in branches))
        if isinstance(ancestor, cst.MatchCase) and _is_spelling_of(_case_key(ancestor), name):
            match = source.parent(ancestor)
            if isinstance(match, cst.Match):
                options = {key: (source, case.body) for case in match.cases if (key := _case_key(case)) is not None}
                return Choice(match.subject, options, (match.subject,))
        child = ancestor
    return None


def _case_key(case: cst.MatchCase) -> str | None:
    """The string that a case matches; None for any other case."""
    return literal_string(case.pattern.value) if isinstance(case.pattern, cst.MatchValue) else None


def change_key(draft: Draft, project: Project, source: SourceFile, choice: Choice, old: str, new: str) -> None:
    """Writes the key of one class or function in the place of another's.

    Raises NotExpressible where the new one has no key, or something else reads the present key.
    """
    line, new_key = source.line(choice.selector), choice.key_for(new)
    if new_key is None:
        raise NotExpressible(f"line {line} chooses by a word, and none of them stands for {new}")
    flow = ValueFlow(project, lambda _, node: literal_string(node) is not None)
    places = flow.origins(source, choice.selector)
    present_keys = {literal_string(node) for _, node in places}
    if present_keys == {new_key}:
        return
    (key,) = present_keys if len(present_keys) == 1 else (None,)
    if key is None or not choice.stands_for(key, old) or not flow.is_exclusive(choice.comparisons):
        raise NotExpressible(f"the word that line {line} chooses by is read in other places too")
    for where, node in places:
        draft.replace(where, where.start(node), where.end(node), where.code_of(node).replace(key, new_key))


def _is_spelling_of(key: str | None, name: str) -> bool:
    """Whether a key is another spelling of a name: "leaky_relu" and LeakyReLU."""
    return key is not None and "".join(filter(str.isalnum, key)).lower() == normalise_name(name)


def normalise_name(name: str) -> str:
    """One spelling for one operation, whether a class or a function: "leakyrelu" for LeakyReLU and leaky_relu_."""
    return name.replace("_", "").lower()


def _refers_to(source: SourceFile, node: cst.CSTNode, name: str) -> bool:
    """Whether an option is a class or function of that name, or builds or calls one and nothing else."""
    names = [each for each in source.find_all(cst.BaseExpression, node) if isinstance(each, cst.Name | cst.Attribute)]
    dotted_names = [each for each in names if not isinstance(source.parent(each), cst.Attribute)]
    of_torch = {normalise_name(source.module_class(each) or source.torch_function(each)) for each in dotted_names}
    return of_torch - {"", "sequential"} == {normalise_name(name)}


def _dictionary_choice(project: Project, source: SourceFile, node: cst.Subscript) -> Choice | None:
    """The choice of `ACTS[key]` from a dictionary that is written out."""
    index = node.slice[0].slice if len(node.slice) == 1 else None
    if not isinstance(index, cst.Index) or literal_string(index.value) is not None:
        return None
    try:
        ((where, dictionary),) = ValueFlow(project, lambda _, each: isinstance(each, cst.Dict)).origins(source, node.value)
    except (NotExpressible, ValueError):
        return None
    entries = dictionary.elements if isinstance(dictionary, cst.Dict) else ()
    options = {literal_string(e.key): (where, e.value) for e in entries if isinstance(e, cst.DictElement)}
    return Choice(index.value, {key: option for key, option in options.items() if key is not None})


def _compared_keys(source: SourceFile, branch: cst.If, selector: str) -> Iterator[tuple[str, cst.BaseExpression, cst.CSTNode]]:
    """The keys that a chain of conditions compares a selector with, each with that expression and with its branch.

    Conditions that follow each other in a block count as one chain.
    """
    first: cst.CSTNode = branch
    while isinstance(parent := source.parent(first), cst.If) and parent.orelse is first:
        first = parent
    block = source.parent(first)
    statements = list(block.body) if isinstance(block, cst.IndentedBlock) else [first]
    for statement in statements:
        current: cst.CSTNode | None = statement
        while isinstance(current, cst.If):
            comparison = _comparison(current)
            if comparison is not None and source.code_of(comparison[0]) == selector:
                yield comparison[1], comparison[0], current.body
            current = current.orelse


def _comparison(branch: cst.If) -> tuple[cst.BaseExpression, str] | None:
    """The expression and the string that a condition compares; None for any other condition."""
    test = branch.test
    if (
        not isinstance(test, cst.Comparison)
        or len(test.comparisons) != 1
        or not isinstance(test.comparisons[0].operator, cst.Equal)
    ):
        return None
    key = literal_string(test.comparisons[0].comparator)
    return (test.left, key) if key is not None else None
