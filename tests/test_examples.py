"""The examples of five fields: ordinary scripts that run with real data and without, each sick, named, and cured by its patch."""

from __future__ import annotations

import math
import re
import runpy
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest

import unvanish
from unvanish.record.finding import Finding

ROOT = Path(__file__).parents[1]
REAL_DATA = ROOT.parent / "shared" / "data"
PAGE = ROOT / "docs" / "examples.md"


@dataclass(frozen=True, slots=True)
class Example:
    """A script, how to make it short, what it prints of data that it did not train on, and what is wrong with it."""

    file: str
    short: tuple[str, ...]  # arguments, or variables of the environment
    figure: str
    root: str


EXAMPLES = (
    Example("images_vgg.py", ("--epochs", "2"), r"val accuracy ([\d.]+)", "vanishing-gradient"),
    Example("speech_rnn.py", ("EPOCHS=1",), r"val accuracy ([\d.]+)", "vanishing-through-time"),
    Example("text_transformer.py", ("STEPS=60",), r"val accuracy ([\d.]+)", "vanishing-gradient"),
    Example("health_tumours.py", ("EPOCHS=6",), r"val_accuracy ([\d.]+)", "unscaled-input"),
    Example("finance_volatility.py", ("EPOCHS=2",), r"val R2 (-?[\d.]+)", "learning-rate-too-low"),
)
every_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.file.partition("_")[0])


@every_example
@pytest.mark.parametrize("data", ["real", "shipped"])
def test_an_example_runs_with_either_data_and_is_told_its_root(
    example: Example, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if data == "real" and not REAL_DATA.is_dir():
        pytest.skip(f"there is no {REAL_DATA}")
    script = ROOT / "examples" / example.file if data == "real" else without_real_data(example, tmp_path)
    figures, findings = watched(script, example, monkeypatch)
    assert figures
    assert all(map(math.isfinite, figures))
    assert [finding.code for finding in findings][:1] == [example.root]


@every_example
def test_the_patch_of_the_documentation_fits_an_example_and_cures_it(
    example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = without_real_data(example, tmp_path)
    (tmp_path / "unvanish.patch").write_text(patch_of(example), encoding="utf-8")
    subprocess.run(["git", "apply", "../unvanish.patch"], cwd=script.parents[1], check=True)
    assert script.read_text(encoding="utf-8") != (ROOT / "examples" / example.file).read_text(encoding="utf-8")
    _, findings = watched(script, example, monkeypatch)
    assert example.root not in [finding.code for finding in findings if finding.severity.loud]


def test_the_examples_do_not_know_who_looks_at_them() -> None:
    assert {example.file for example in EXAMPLES} <= {path.name for path in (ROOT / "examples").glob("*.py")}
    assert [path.name for path in (ROOT / "examples").glob("*_*.py") if "unvanish" in path.read_text(encoding="utf-8")] == []


def without_real_data(example: Example, folder: Path) -> Path:
    """A copy of the script with no shared data beside the folder that stands for the repository."""
    place = folder / "repository" / "examples"
    place.mkdir(parents=True)
    return Path(shutil.copy(ROOT / "examples" / example.file, place))


def watched(script: Path, example: Example, monkeypatch: pytest.MonkeyPatch) -> tuple[list[float], list[Finding]]:
    """The figures that a short run of the script prints, and what is found in it."""
    monkeypatch.delenv("SEED", raising=False)
    for word in example.short:
        if "=" in word:
            monkeypatch.setenv(*word.split("="))
    monkeypatch.setattr(sys, "argv", [str(script), *(word for word in example.short if "=" not in word)])
    printed = StringIO()
    with redirect_stdout(printed), unvanish.watch() as run:
        runpy.run_path(str(script), run_name="__main__")
    return [float(figure) for figure in re.findall(example.figure, printed.getvalue())], run.findings


def patch_of(example: Example) -> str:
    """The patch that stands in the documentation for this script."""
    blocks = re.findall(r"```diff\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (patch,) = [block for block in blocks if f"+++ b/examples/{example.file}" in block]
    return patch
