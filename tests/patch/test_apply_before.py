"""The call is inserted right before the statement that builds the optimizer, and nothing else changes."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unvanish.errors import TrialError
from unvanish.patch.apply_call_line import add_apply_before

REMEDIES = ("relu", "he-init")
CALL = 'unvanish.apply(net, "relu", "he-init")'

# source, the line that builds the optimizer, edited source; in every case the network is called `net`
CASES = {
    "a plain statement": ("a = 1\nopt = SGD(net)\n", 2, f"a = 1\n{CALL}\nopt = SGD(net)\n"),
    "tabs in a function": ("def f(net):\n\tn = 2\n\treturn SGD(net)\n", 3, f"def f(net):\n\tn = 2\n\t{CALL}\n\treturn SGD(net)\n"),
    "an inner line of a long call": (
        "opt = SGD(\n    net,  # é\n    lr=1,\n)\n",
        2,
        f"{CALL}\nopt = SGD(\n    net,  # é\n    lr=1,\n)\n",
    ),
    "a line continued by a backslash": ("opt = \\\n    SGD(net)\n", 2, f"{CALL}\nopt = \\\n    SGD(net)\n"),
    "the body of a one-line if": ("if a: opt = SGD(net)\n", 1, f"if a: {CALL}; opt = SGD(net)\n"),
    "the second of two statements": ("net = Net(); opt = SGD(net)\n", 1, f"net = Net(); {CALL}; opt = SGD(net)\n"),
    "the first of two statements": ("opt = SGD(net); plan = Plan(opt)\n", 1, f"{CALL}; opt = SGD(net); plan = Plan(opt)\n"),
    "letters outside ASCII before it": ("s = 'é€'; opt = SGD(net)\n", 1, f"s = 'é€'; {CALL}; opt = SGD(net)\n"),
    "windows line endings": ("a = 1\r\nopt = SGD(net)\r\n", 2, f"a = 1\r\n{CALL}\r\nopt = SGD(net)\r\n"),
    "no line ending at the end": ("opt = SGD(net)", 1, f"{CALL}\nopt = SGD(net)"),
    "a form feed and odd separators": (
        "\x0cs = '\x1c\u2028'\nopt = SGD(net)\n",
        2,
        f"\x0cs = '\x1c\u2028'\n{CALL}\nopt = SGD(net)\n",
    ),
    "a with statement": (
        "a = 1  # one\nwith SGD(net) as opt:\n    pass\n",
        2,
        f"a = 1  # one\n{CALL}\nwith SGD(net) as opt:\n    pass\n",
    ),
    "a with statement at the head of a block": (
        "def f(net):\r\n  with SGD(net) as opt:\r\n    pass\r\n",
        2,
        f"def f(net):\r\n  {CALL}\r\n  with SGD(net) as opt:\r\n    pass\r\n",
    ),
    "a statement under a condition on the network": (
        "if net:\n    opt = SGD(net)\n",
        2,
        f"if net:\n    {CALL}\n    opt = SGD(net)\n",
    ),
    "an elif": (
        "a = 1\nif a:\n    pass\nelif SGD(net):\n    pass\n",
        4,
        f"a = 1\n{CALL}\nif a:\n    pass\nelif SGD(net):\n    pass\n",
    ),
    "an if under an else": (
        "if a:\n    pass\nelse:\n    if SGD(net):\n        pass\n",
        4,
        f"if a:\n    pass\nelse:\n    {CALL}\n    if SGD(net):\n        pass\n",
    ),
    "a decorator": ("a = 1\n@train(SGD(net))\ndef f(): pass\n", 2, f"a = 1\n{CALL}\n@train(SGD(net))\ndef f(): pass\n"),
    "a default argument": ("a = 1\n@b\ndef f(o=SGD(net)):\n  pass\n", 3, f"a = 1\n{CALL}\n@b\ndef f(o=SGD(net)):\n  pass\n"),
    "an except clause's body": (
        "try:\n    pass\nexcept E:\n    opt = SGD(net)\n",
        4,
        f"try:\n    pass\nexcept E:\n    {CALL}\n    opt = SGD(net)\n",
    ),
    "a case of a match": (
        "match a:\n    case 1:\n        opt = SGD(net)\n",
        3,
        f"match a:\n    case 1:\n        {CALL}\n        opt = SGD(net)\n",
    ),
}


@pytest.mark.parametrize(("source", "line", "edited"), CASES.values(), ids=CASES.keys())
def test_the_call_stands_right_before_the_optimizer_and_all_else_stays(source: str, line: int, edited: str) -> None:
    assert add_apply_before(source, line, "net", REMEDIES) == edited


@pytest.mark.parametrize(("source", "line", "edited"), CASES.values(), ids=CASES.keys())
def test_a_second_call_changes_nothing(source: str, line: int, edited: str) -> None:
    again = line + edited.count("\n") - source.count("\n") if edited.count("\r\n") == 0 else line + 1
    assert add_apply_before(edited, again, "net", REMEDIES) == edited


def test_an_attribute_can_be_the_network() -> None:
    source = "class T:\n    def f(self):\n        self.opt = SGD(self.net)\n"
    assert 'unvanish.apply(self.net, "relu")\n        self.opt' in add_apply_before(source, 3, "self.net", ["relu"])


def test_the_call_runs_once_and_before_the_optimizer() -> None:
    calls: list[object] = []
    source = "net = 'net'\nfor _ in range(1): opt = build(net)\n"
    edited = add_apply_before(source, 2, "net", REMEDIES).replace("unvanish.apply", "apply")
    exec(edited, {"apply": lambda *args: calls.append(args), "build": calls.append})
    assert calls == [("net", *REMEDIES), "net"]


def test_warnings_about_the_users_text_are_left_to_the_script() -> None:
    assert add_apply_before("s = '\\d'\nopt = SGD(net)\n", 2, "net", REMEDIES).endswith("opt = SGD(net)\n")


@pytest.mark.parametrize(
    ("source", "line", "expression", "words"),
    [
        ("def f(:\n", 1, "net", "does not parse"),
        ("a = 1\n\n# no statement\n", 3, "net", "line 3"),
        ("a = 1\n", 9, "net", "line 9"),
        ("opt = SGD(net)\n", 1, "net = 3", "does not name a network"),
        ("opt = SGD(net)\n", 1, "net); import os; (net", "does not name a network"),
    ],
)
def test_what_cannot_be_edited_is_refused_with_the_reason(source: str, line: int, expression: str, words: str) -> None:
    with pytest.raises(TrialError, match=words):
        add_apply_before(source, line, expression, REMEDIES)


BLOCKS = st.recursive(
    st.lists(
        st.sampled_from(["x = 1", "opt = SGD(net)  # é", "f(\n  net)", "s = '''a\n\n b'''", "a = 1; b = SGD(net);"]),
        min_size=1,
        max_size=4,
    ),
    lambda inner: st.lists(
        st.tuples(
            st.sampled_from(["if net:", "with f(net):", "for i in net:", "@f(net)\ndef g():", "class A(f(net)):", "while net:"]),
            inner,
        ),
        min_size=1,
        max_size=3,
    ),
    max_leaves=8,
)


def block_text(block: object, indentation: str = "") -> str:
    """A block of statements as text; multi-line statements keep their inner lines as they are."""
    lines = ""
    for item in block if isinstance(block, list) else []:
        if isinstance(item, tuple):
            lines += "".join(f"{indentation}{part}\n" for part in item[0].split("\n")) + block_text(item[1], indentation + "  ")
        else:
            lines += f"{indentation}{item}\n"
    return lines


@settings(deadline=None)
@given(block=BLOCKS, data=st.data(), ending=st.sampled_from(["\n", "\r\n", "\r"]))
def test_any_statement_can_be_preceded_and_the_rest_of_the_program_stays(block: object, data: st.DataObject, ending: str) -> None:
    source = block_text(block)
    line = data.draw(st.integers(1, source.count("\n")))
    edited = add_apply_before(source.replace("\n", ending), line, "net", REMEDIES)
    more = len(edited.splitlines()) - len(source.splitlines())
    assert add_apply_before(edited, line + more, "net", REMEDIES) == edited
    assert ending == "\n" or "\n" not in edited.replace(ending, "")
    assert _dump_without_patch(ast.parse(edited)) == ast.dump(ast.parse(source))


def _dump_without_patch(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            body[:] = [s for s in body if "unvanish" not in (ast.unparse(s) if isinstance(s, ast.Expr | ast.Import) else "")]
    return ast.dump(tree)
