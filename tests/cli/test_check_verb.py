"""`unvanish check FILE.py:FACTORY`: exit codes, what it leaves behind, its JSON, and one clear line for whatever cannot be used."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from child_processes import Ended, Nursery, write

NETWORKS = """
import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)
X = torch.randn(16, 12)
Y = torch.arange(16) % 3


def chain(activation, depth, width=12):
    layers = []
    for _ in range(depth):
        layers += [nn.Linear(width, width), activation()]
    return nn.Sequential(*layers, nn.Linear(width, 3))


def healthy():
    return chain(nn.ReLU, 2), X, Y


def sick():
    return chain(nn.Sigmoid, 14), X, lambda out: F.cross_entropy(out, Y)


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.RNN(2, 16, batch_first=True)
        self.head = nn.Linear(16, 1)

    def forward(self, x):
        return self.head(self.body(x)[0][:, -1])


def rnn():
    return Reader(), torch.rand(8, 80, 2), torch.rand(8, 1)


def named():
    return Both(), {"a": X, "b": X}, Y


class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = chain(nn.Tanh, 3)

    def forward(self, *, a, b):
        print("forward")
        return self.net(a + b)


def fails():
    width = 12
    return nn.Linear(width, "3")


def no_three():
    return chain(nn.ReLU, 2)


def no_module():
    return chain, X, Y


def no_loss():
    return chain(nn.ReLU, 2), X, "cross-entropy"


def many_losses():
    return chain(nn.ReLU, 2), X, lambda out: F.cross_entropy(out, Y, reduction="none")


def targets():
    return chain(nn.ReLU, 2), X, torch.rand(16, 4)


def failing_loss():
    return chain(nn.ReLU, 2), X, lambda out: F.cross_entropy(out, torch.full((16,), 7))


def shape():
    return chain(nn.ReLU, 2), torch.randn(16, 11), Y


class Detached(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = chain(nn.ReLU, 2)

    def forward(self, x):
        return self.net(x).detach()


def detached():
    return Detached(), X, Y


class Logarithm(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(12, 12), nn.Linear(12, 3)

    def forward(self, x):
        return self.last(torch.log(self.first(x)))


def nan():
    return Logarithm(), X, Y


class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = chain(nn.ReLU, 2)

    def forward(self, x):
        return self.net(x.float())


def integers():
    return Counts(), torch.ones(16, 12, dtype=torch.long), Y


def leaves():
    raise SystemExit(3)
"""

FINDING_KEYS = {"code", "severity", "confidence", "summary", "sites", "cause", "evidence", "symptoms", "remedies"}
FINDING_KEYS |= {"began", "trend"}


def check(nursery: Nursery, folder: Path, name: str, *options: str, **variables: str) -> Ended:
    """`unvanish check --out run net.py:NAME`, beside the networks above."""
    write(folder / "net.py", NETWORKS)
    return nursery.unvanish(folder, "check", "--out", "run", *options, f"net.py:{name}", **variables)


def files(folder: Path) -> set[str]:
    """What lies there, apart from the test's own."""
    return {path.name for path in folder.iterdir()} - {"net.py", ".out", ".err", "__pycache__"}


def document(ended: Ended) -> dict[str, Any]:
    """The JSON that was printed; nothing but numbers, words and null may be in it."""

    def refuse(word: str) -> None:
        raise AssertionError(word)

    return json.loads(ended.out, parse_constant=refuse)


@pytest.mark.parametrize(
    ("name", "code", "state"), [("healthy", 0, "HEALTHY"), ("sick", 1, "SICK"), ("rnn", 1, "UNWELL"), ("named", 0, "HEALTHY")]
)
def test_the_exit_code_and_the_first_line_say_how_it_is(name: str, code: int, state: str, tmp_path: Path, nursery: Nursery) -> None:
    ended = check(nursery, tmp_path, name)
    assert ended.code == code
    assert state in ended.err
    assert "Traceback" not in ended.err
    assert files(tmp_path) == {"run"}
    assert {path.name for path in ended.folder.iterdir()} == {".gitignore", "run.sqlite", "report.html"}


def test_what_the_network_prints_goes_to_standard_output_and_our_words_do_not(tmp_path: Path, nursery: Nursery) -> None:
    ended = check(nursery, tmp_path, "named")
    assert set(ended.out.decode().split()) == {"forward"}
    assert check(nursery, tmp_path, "healthy", "--out", "again").out == b""


def test_quiet_leaves_the_files_and_the_exit_code(tmp_path: Path, nursery: Nursery) -> None:
    ended = check(nursery, tmp_path, "sick", "--quiet")
    assert (ended.code, ended.out, ended.err) == (1, b"", "")
    assert (ended.folder / "report.html").is_file()


def test_without_a_folder_given_it_is_a_new_one_named_after_the_file(tmp_path: Path, nursery: Nursery) -> None:
    write(tmp_path / "net.py", NETWORKS)
    assert nursery.unvanish(tmp_path, "check", "net.py:healthy").code == 0
    (folder,) = (tmp_path / "unvanish-runs").iterdir()
    assert re.fullmatch(r"\d{8}-\d{6}-check-net", folder.name)


def test_the_json_has_the_schema_and_what_a_look_adds(tmp_path: Path, nursery: Nursery) -> None:
    answer = document(check(nursery, tmp_path, "sick", "--json", "-", "--quiet"))
    assert {"schema", "healthy", "steps", "overhead", "findings", "flow", "prediction", "recurrences", "jacobians"} <= set(answer)
    assert (answer["schema"], answer["healthy"], answer["recurrences"]) == (1, False, [])
    assert all(set(finding) == FINDING_KEYS for finding in answer["findings"])
    first = answer["findings"][0]
    assert (first["code"], first["cause"]["code"]) == ("vanishing-gradient", "saturating-activation")
    assert (answer["flow"]["source"], answer["flow"]["target"]) == ("output", "input")
    for by in ("kinds", "blocks"):
        assert sum(answer["flow"][by].values()) == pytest.approx(answer["flow"]["total"], abs=1e-3)
    assert answer["prediction"]["decades"] == pytest.approx(answer["flow"]["total"], abs=1.0)
    assert [jacobian["exact"] for jacobian in answer["jacobians"]] == [True] * len(answer["jacobians"])
    assert answer["jacobians"][-1]["layer"] == ""


def test_the_json_of_a_recurrence_has_its_rate_and_why_theory_is_silent(tmp_path: Path, nursery: Nursery) -> None:
    answer = document(check(nursery, tmp_path, "rnn", "--json", "-", "--quiet"))
    (time,) = answer["recurrences"]
    assert (time["name"], time["steps"]) == ("body.weight_hh_l0", 80)
    assert time["decades_per_step"] == pytest.approx(-3.0 / time["horizon"], rel=1e-4)
    assert answer["prediction"]["decades"] is None
    assert "plain chains" in answer["prediction"]["reason"]


def test_a_stored_check_gives_the_same_json_and_page_again(tmp_path: Path, nursery: Nursery) -> None:
    ended = check(nursery, tmp_path, "rnn", "--json", "out.json")
    page = (ended.folder / "report.html").read_bytes()
    again = nursery.unvanish(tmp_path, "report", "run", "--json", "-")
    assert again.out == (tmp_path / "out.json").read_bytes()
    assert (ended.folder / "report.html").read_bytes() == page


def test_the_page_has_the_pictures_and_the_words(tmp_path: Path, nursery: Nursery) -> None:
    page = (check(nursery, tmp_path, "rnn").folder / "report.html").read_text()
    for name in ("waterfall", "kinds", "depth", "time"):
        assert f'id="{name}-title"' in page
    assert "vanishing-through-time" in page
    assert "body.weight_hh_l0" in page


def test_a_layer_has_the_line_that_built_it(tmp_path: Path, nursery: Nursery) -> None:
    ended = check(nursery, tmp_path, "sick")
    text = (tmp_path / "net.py").read_text().splitlines()
    line = next(number for number, text in enumerate(text, 1) if "nn.Linear(width, width), activation()" in text)
    assert f"net.py:{line}" in ended.err
    examination = ended.record.examination
    assert examination is not None
    places = {op.label: op.location.line for op in examination.flow.ops if op.location is not None}
    head = next(number for number, text in enumerate(text, 1) if "nn.Linear(width, 3)" in text)
    assert (places["0"], places["1"], places["28"]) == (line, line, head)


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(columns: int, tmp_path: Path, nursery: Nursery) -> None:
    ended = check(nursery, tmp_path, "sick", COLUMNS=str(columns))
    assert max(len(line) for line in ended.lines) <= columns
    assert "nan" not in ended.err.lower().split()


REFUSALS = {
    "no such file": ("nowhere.py:make", ("nowhere.py: no such file",)),
    "no colon": ("net.py", ("net.py", "model.py:make")),
    "no function named": ("net.py:", ("net.py:", "model.py:make")),
    "no such function": ("net.py:halthy", ("net.py has no function halthy; did you mean healthy?",)),
    "no function at all": ("net.py:X", ("X in net.py is Tensor",)),
    "a factory that fails": ("net.py:fails", ("fails() failed", "TypeError", 'return nn.Linear(width, "3")')),
    "a factory of one thing": ("net.py:no_three", ("no_three() must return three things", "returned Sequential")),
    "no module": ("net.py:no_module", ("torch.nn.Module", "function")),
    "no loss": ("net.py:no_loss", ("the loss is str", "or targets")),
    "a loss of many numbers": ("net.py:many_losses", ("(16,)", "one number")),
    "targets of another shape": ("net.py:targets", ("(16, 3)", "(16, 4)")),
    "a loss that fails": ("net.py:failing_loss", ("IndexError", "Target 7 is out of bounds", "net.py:")),
    "inputs of another shape": ("net.py:shape", ("RuntimeError", "16x11")),
    "a detached network": ("net.py:detached", ("nothing that carries a gradient",)),
    "NaN": ("net.py:nan", ("the loss is nan", "log")),
    "integers without an embedding": ("net.py:integers", ("the inputs are integers", "floating-point")),
    "an unknown option": ("--fast", ("--fast",)),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_cannot_be_used_is_said_in_one_line_and_nothing_is_left(name: str, tmp_path: Path, nursery: Nursery) -> None:
    address, words = REFUSALS[name]
    write(tmp_path / "net.py", NETWORKS)
    ended = nursery.unvanish(tmp_path, "check", address)
    assert (ended.code, ended.out) == (2, b"")
    (line,) = ended.lines
    assert line.startswith("unvanish: ")
    for word in words:
        assert word in line
    assert files(tmp_path) == set()


def test_a_file_that_cannot_be_loaded_is_said_with_its_line(tmp_path: Path, nursery: Nursery) -> None:
    write(tmp_path / "net.py", "import torch\nimport nowhere_at_all\n")
    ended = nursery.unvanish(tmp_path, "check", "net.py:make")
    assert ended.code == 2
    (line,) = ended.lines
    assert "No module named 'nowhere_at_all'" in line
    assert "net.py:2" in line
    assert files(tmp_path) == set()


def test_a_folder_that_holds_a_run_is_not_written_over(tmp_path: Path, nursery: Nursery) -> None:
    before = (check(nursery, tmp_path, "healthy").folder / "run.sqlite").read_bytes()
    ended = check(nursery, tmp_path, "sick")
    assert ended.code == 2
    assert "run holds another run" in ended.err
    assert (ended.folder / "run.sqlite").read_bytes() == before


def test_a_json_file_that_cannot_be_written_is_said_before_anything_is_built(tmp_path: Path, nursery: Nursery) -> None:
    ended = check(nursery, tmp_path, "fails", "--json", "nowhere/out.json")
    assert ended.code == 2
    assert ended.lines == ["unvanish: nowhere/out.json cannot be written; give --json another file"]


def test_a_folder_of_the_users_is_kept_after_a_refusal(tmp_path: Path, nursery: Nursery) -> None:
    write(tmp_path / "run" / "mine.txt", "mine")
    assert check(nursery, tmp_path, "nan").code == 2
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine.txt"]


def test_a_file_in_another_folder_imports_its_neighbours(tmp_path: Path, nursery: Nursery) -> None:
    write(tmp_path / "models" / "net.py", "from beside_net import healthy\n")
    write(tmp_path / "models" / "beside_net.py", NETWORKS)
    ended = nursery.unvanish(tmp_path, "check", "--out", "run", "models/net.py:healthy")
    assert (ended.code, ended.err.count("Traceback")) == (0, 0)
    assert sys.modules.get("beside_net") is None
