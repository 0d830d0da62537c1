"""Engines of other packages enter by entry point, are listed with their package and engaged by name; a broken one is left out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata

import pytest
from packages import Install

from unvanish.cli.main import run_app
from unvanish.errors import UsageError
from unvanish.plugins import engines, entry_points
from unvanish.trials.engines.engine import EngineOptions

GROUP = engines.BUILT_IN.group
OURS = ("local", "ray")
HEAD = """
    from unvanish.errors import UsageError
    from unvanish.trials.engines.engine import Engine, EngineKind


    class Echo(Engine):
        name = "echo"
        capacity = 7

        def __init__(self, terms):
            self.terms = terms

        def advance(self, goals):
            return []

        def stop(self, trials):
            pass

        def close(self):
            pass


    echo = EngineKind("echo", "gives nothing back", Echo)
"""


@pytest.fixture(autouse=True)
def fresh_engines() -> Iterator[None]:
    """Every test looks for plugins anew, and leaves none of its own."""
    engines.registry.cache_clear()
    yield
    engines.registry.cache_clear()


def terms(**options: object) -> EngineOptions:
    return EngineOptions(lambda run: [], **options)  # type: ignore[arg-type]


def test_the_built_in_engines_enter_by_the_same_door() -> None:
    ours = [entry for entry in metadata.entry_points(group=GROUP) if entry.value == engines.BUILT_IN.value]
    assert [(entry.name, entry.dist.name if entry.dist else "") for entry in ours] == [("built-in", entry_points.OWN_PACKAGE)]
    assert tuple(engines.registry().plugins) == OURS
    assert set(engines.registry().packages.values()) == {entry_points.OWN_PACKAGE}


def test_the_built_in_engines_are_there_where_no_metadata_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry_points, "entry_points", lambda *, group: ())
    assert tuple(engines.registry().plugins) == OURS


@pytest.mark.parametrize("offer", ["echo", "several"])
def test_an_engine_of_a_plugin_is_engaged_by_name_on_the_terms_that_are_given(offer: str, install: Install) -> None:
    install(GROUP, "acme-engines", f"acme_engines:{offer}", HEAD, "def several():\n    yield echo\n")
    options = terms(jobs=3, address="here")
    engine = engines.open_engine("echo", options)
    assert (engine.name, engine.capacity, vars(engine)["terms"]) == ("echo", 7, options)
    assert tuple(engines.registry().plugins) == (*OURS, "echo")
    assert engines.registry().packages["echo"] == "acme-engines"


BROKEN = {
    "an import that fails": ("import a_module_that_nobody_has\n", "No module named 'a_module_that_nobody_has'"),
    "a number": ("x = 3\n", "it gives 3, which is no EngineKind"),
    "the engine in place of its kind": (HEAD + "\n    x = Echo\n", "which is no unvanish.trials.engines.engine.EngineKind"),
    "a name with capitals": (HEAD + "\n    x = EngineKind('Echo', 'x', Echo)\n", "kebab-case, as in 'local'"),
    "the name of ours": (HEAD + "\n    x = EngineKind('ray', 'x', Echo)\n", "the name ray of EngineKind is taken by unvanish"),
    "no summary": (HEAD + "\n    x = EngineKind('echo', '', Echo)\n", "the engine echo must have a summary of one line"),
    "nothing to engage": (HEAD + "\n    x = EngineKind('echo', 'x', None)\n", "and an engage function"),
}


@pytest.mark.parametrize(("source", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_plugin_is_left_out_with_one_line(
    source: str, reason: str, install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install(GROUP, "acme-engines", "acme_engines:x", source)
    assert tuple(engines.registry().plugins) == OURS
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line
    assert "pip uninstall acme-engines" in line


def test_a_name_that_no_engine_has_gets_the_nearest_one_of_all_that_are_installed(install: Install) -> None:
    install(GROUP, "acme-engines", "acme_engines:echo", HEAD)
    with pytest.raises(UsageError, match="did you mean echo"):
        engines.open_engine("ecko", terms())
    with pytest.raises(UsageError, match="there are local, ray, echo"):
        engines.open_engine("zzz", terms())


def test_engines_of_plugins_are_listed_with_their_package(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install(GROUP, "acme-engines", "acme_engines:echo", HEAD)
    assert run_app(["list", "engines", "--json", "-"]) == 0
    entries = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert entries["echo"] == {"name": "echo", "summary": "Gives nothing back.", "package": "acme-engines"}
    assert "package" not in entries["ray"]
    assert run_app(["list", "engines"]) == 0
    assert "[acme-engines] Gives nothing back." in capsys.readouterr().out


def test_no_engine_is_loaded_before_it_is_engaged() -> None:
    code = (
        "import sys, unvanish.plugins.engines; unvanish.plugins.engines.registry()\n"
        "print([name in sys.modules for name in ('torch', 'ray', 'unvanish.trials.engines.local')])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.stdout.strip() == "[False, False, False]"
