"""The examples in the package's docstrings run, and give what they show."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src"
PACKAGE = SOURCE / "unvanish"
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
FILES = sorted(path for path in PACKAGE.rglob("*.py") if ">>> " in path.read_text(encoding="utf-8"))
# The public functions, the contracts of plugins, and the records that every reader meets.
WITH_EXAMPLES = (
    *("workflows/check.py", "workflows/fix_function.py", "workflows/trace.py", "workflows/watch.py", "plugins/remedies.py"),
    *("observe/logged_metrics.py", "diagnose/rule.py", "remedies/base.py", "trials/engines/engine.py"),
    *("record/finding.py", "record/gradient_flow.py", "record/run.py", "record/structure.py", "record/races/candidate.py"),
)


def module_name(path: Path) -> str:
    """The name under which a file of the package is imported."""
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_the_examples_of_a_module_give_what_they_show(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(module_name(path))
    assert any(test.examples for test in doctest.DocTestFinder().find(module))
    assert doctest.testmod(module, optionflags=OPTIONS).failed == 0


def test_public_functions_contracts_and_records_have_examples() -> None:
    assert {PACKAGE / name for name in WITH_EXAMPLES} <= set(FILES)
