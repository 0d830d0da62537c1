"""A value that a word chooses: `ACTS[name]()`, `getattr(nn, name)()`, or `if name == "tanh": return nn.Tanh()`.

Where what is wanted is among the choices, the word is exchanged and not the choice: each word goes on to mean what it says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import libcst as cst

from unvanish.patch.draft import Draft, Unsayable
from unvanish.patch.source.parsed_file import Project, Source, string
from unvanish.patch.source.value_flow import Flow


@dataclass(frozen=True, slots=True)
class Choice:
    """What chooses, and what each word stands for: expressions that hold a class or a function, or build or call one.

    Without options, the word is itself the name of a class or function of torch. `asked` are the places that compare the word.
    """

    selector: cst.BaseExpression
    options: Mapping[str, tuple[Source, cst.CSTNode]] | None
    asked: tuple[cst.BaseExpression, ...] = ()

    def word_for(self, name: str) -> str | None:
        """The word for a class or function; None where there is none."""
        if self.options is None:
            return name
        return next((word for word, (source, node) in self.options.items() if _names(source, node, name)), None)

    def means(self, word: str, name: str) -> bool:
        """Whether a word stands for a class or function."""
        return (
            plain_name(word) == plain_name(name)
            if self.options is None
            else word in self.options and _names(*self.options[word], name)
        )


def choice_at(project: Project, source: Source, node: cst.BaseExpression) -> Choice | None:
    """The choice that an expression is; None where it is none."""
    if isinstance(node, cst.Subscript):
        return _in_dictionary(project, source, node)
    if isinstance(node, cst.Call) and source.written(node.func) == "getattr" and len(node.args) == 2:
        home = source.qualified(node.args[0].value)
        return Choice(node.args[1].value, None) if home in ("torch", "torch.nn", "torch.nn.functional") else None
    return None


def choice_around(source: Source, node: cst.BaseExpression, name: str) -> Choice | None:
    """The choice by a word like the name of a class or function, in one of whose branches an expression stands.

    Raises Unsayable where it stands in a dictionary under such a word, so that the choice is made elsewhere.
    """
    below: cst.CSTNode = node
    for above in source.above(node):
        if isinstance(above, cst.FunctionDef | cst.ClassDef):
            return None
        if isinstance(above, cst.DictElement) and _alike(string(above.key), name):
            raise Unsayable(f"line {source.line(node)} is what a word stands for, which is chosen elsewhere")
        if isinstance(above, cst.If) and above.body is below:
            asked = _asked(above)
            if asked is not None and _alike(asked[1], name):
                chain = list(_chain(source, above, source.written(asked[0])))
                options = {word: (source, branch) for word, _, branch in chain}
                return Choice(asked[0], options, tuple(each for _, each, _ in chain))
        if isinstance(above, cst.MatchCase) and _alike(_case(above), name) and isinstance(match := source.parent(above), cst.Match):
            words = {word: (source, case.body) for case in match.cases if (word := _case(case)) is not None}
            return Choice(match.subject, words, (match.subject,))
        below = above
    return None


def _case(case: cst.MatchCase) -> str | None:
    """The word that a case is for; None for any other case."""
    return string(case.pattern.value) if isinstance(case.pattern, cst.MatchValue) else None


def choose(draft: Draft, project: Project, source: Source, choice: Choice, old: str, new: str) -> None:
    """Has the word for one class or function be that for another. Raises Unsayable where there is none, or another reads it."""
    line, wanted = source.line(choice.selector), choice.word_for(new)
    if wanted is None:
        raise Unsayable(f"line {line} chooses by a word, and none of them stands for {new}")
    flow = Flow(project, lambda _, each: string(each) is not None)
    origins = flow.origins(source, choice.selector)
    present = {string(each) for _, each in origins}
    if present == {wanted}:
        return
    (word,) = present if len(present) == 1 else (None,)
    if word is None or not choice.means(word, old) or not flow.closed(choice.asked):
        raise Unsayable(f"the word that line {line} chooses by is read in other places too")
    for where, each in origins:
        draft.put(where, where.start(each), where.end(each), where.written(each).replace(word, wanted))


def _alike(word: str | None, name: str) -> bool:
    """Whether a word is another spelling of a name: "leaky_relu" and LeakyReLU."""
    return word is not None and "".join(filter(str.isalnum, word)).lower() == plain_name(name)


def plain_name(name: str) -> str:
    """One spelling for one operation, whether a class or a function: "leakyrelu" for LeakyReLU and leaky_relu_."""
    return name.replace("_", "").lower()


def _names(source: Source, node: cst.CSTNode, name: str) -> bool:
    """Whether an option is a class or function of that name, or builds or calls one and nothing else."""
    names = [each for each in source.all_of(cst.BaseExpression, node) if isinstance(each, cst.Name | cst.Attribute)]
    inside = [each for each in names if not isinstance(source.parent(each), cst.Attribute)]
    found = {plain_name(source.module_class(each) or source.torch_function(each)) for each in inside} - {"", "sequential"}
    return found == {plain_name(name)}


def _in_dictionary(project: Project, source: Source, node: cst.Subscript) -> Choice | None:
    inner = node.slice[0].slice if len(node.slice) == 1 else None
    if not isinstance(inner, cst.Index) or string(inner.value) is not None:
        return None
    try:
        ((where, found),) = Flow(project, lambda _, each: isinstance(each, cst.Dict)).origins(source, node.value)
    except (Unsayable, ValueError):
        return None
    entries = found.elements if isinstance(found, cst.Dict) else ()
    options = {string(e.key): (where, e.value) for e in entries if isinstance(e, cst.DictElement)}
    return Choice(inner.value, {word: option for word, option in options.items() if word is not None})


def _chain(source: Source, branch: cst.If, selector: str) -> Iterator[tuple[str, cst.BaseExpression, cst.CSTNode]]:
    """The words that a chain of conditions asks for, where it asks and with which branch; conditions that follow each other count
    as one chain."""
    first: cst.CSTNode = branch
    while isinstance(above := source.parent(first), cst.If) and above.orelse is first:
        first = above
    row = source.parent(first)
    statements = list(row.body) if isinstance(row, cst.IndentedBlock) else [first]
    for statement in statements:
        current: cst.CSTNode | None = statement
        while isinstance(current, cst.If):
            asked = _asked(current)
            if asked is not None and source.written(asked[0]) == selector:
                yield asked[1], asked[0], current.body
            current = current.orelse


def _asked(branch: cst.If) -> tuple[cst.BaseExpression, str] | None:
    """What a condition compares with which word; None for any other condition."""
    test = branch.test
    if (
        not isinstance(test, cst.Comparison)
        or len(test.comparisons) != 1
        or not isinstance(test.comparisons[0].operator, cst.Equal)
    ):
        return None
    word = string(test.comparisons[0].comparator)
    return (test.left, word) if word is not None else None
