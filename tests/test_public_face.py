"""The public names: sorted, and each resolved when it is first used."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

import unvanish

NAMES = ["UnvanishError", "apply", "check", "fix", "log", "trace", "watch"]


def test_the_public_names_are_these_and_sorted() -> None:
    assert unvanish.__all__ == NAMES
    assert sorted(NAMES) == NAMES
    assert dir(unvanish) == sorted([*NAMES, "__version__"])


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_resolves_to_something_documented(name: str) -> None:
    assert getattr(unvanish, name).__doc__


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'cure'"):
        _ = unvanish.cure  # type: ignore[attr-defined]


def test_the_version_is_that_of_the_distribution() -> None:
    assert unvanish.__version__ == importlib.metadata.version("unvanish")


def test_logging_needs_no_torch_and_outside_a_run_does_nothing() -> None:
    code = "import sys, unvanish; assert unvanish.log(val_accuracy=0.93) is None; assert 'torch' not in sys.modules"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_no_package_has_the_name_of_a_public_function_and_would_take_its_place_once_imported() -> None:
    packages = {path.stem for path in Path(unvanish.__file__).parent.iterdir()}
    assert packages.isdisjoint(NAMES)
