"""Runs a row's program alone, watched and fixed, and fills in its cells."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from compatibility import snapshot
from compatibility.comparison import FINGERPRINT, differing_output, differing_roughly, last_figure, new_errors
from compatibility.process import Ended, environment, run_command
from compatibility.project import apply_patch, lay_out
from compatibility.row import Cell, Row, State

RUN_LIMIT_S = 600.0
FIX_LIMIT_S = 3600.0
LOUD = frozenset({"warning", "critical"})
HOME_FILES = {".bashrc": "# a shell's settings\n", "notes.txt": "what a person keeps\n"}
LONGEST_DETAIL = 300

RUNS = frozenset({"same", "silent", "clean"})
CURES = frozenset({"fixed", "plain", "lasts", "traceless"})


def yes_or_no(yes: bool, detail: str = "") -> Cell:
    """A cell that is green, or not with a detail."""
    return Cell(State.YES if yes else State.NO, detail[:LONGEST_DETAIL])


def does_not_apply(detail: str) -> Cell:
    """A cell in which there is nothing to be shown."""
    return Cell(State.DOES_NOT_APPLY, detail)


@dataclass(frozen=True, slots=True)
class Place:
    """A laid out program, and the variables that it runs with, its home among them."""

    folder: Path
    home: Path
    variables: dict[str, str]

    def run(self, command: tuple[str, ...], limit_s: float = RUN_LIMIT_S) -> Ended:
        """How a command ends here."""
        return run_command(command, self.folder, variables=self.variables, limit_s=limit_s)


def alone(launch: tuple[str, ...]) -> tuple[str, ...]:
    """The command line without unvanish: a script and `-m` by the interpreter, a console script by its name."""
    return ("python", *launch) if launch[0] == "-m" or launch[0].endswith(".py") else launch


@final
class Examination:
    """The examination of one row below a folder of its own."""

    def __init__(self, row: Row, folder: Path, *, repeats: bool = True) -> None:
        """Arguments: the row; a folder of its own; whether the program is run twice alone, to see what varies."""
        self._row = row
        self._folder = folder
        self._repeats = repeats

    def examine(self, wanted: Collection[str]) -> dict[str, Cell]:
        """The cells of the columns wanted, and of those that come with them."""
        cells: dict[str, Cell] = {}
        if RUNS & set(wanted):
            cells |= self.watch_healthy()
        if "named" in wanted:
            cells["named"] = self.watch_sick() if self._row.twin else does_not_apply(self._row.why)
        if CURES & set(wanted):
            cells |= self.fix_sick()
        return cells

    def place(self, name: str, *, sick: bool) -> Place:
        """A copy of the program with a home of its own."""
        folder = lay_out(self._row, self._folder / name / "project", sick=sick)
        home = self._folder / name / "home"
        home.mkdir()
        for file, text in HOME_FILES.items():
            (home / file).write_text(text, encoding="utf-8")
        return Place(folder, home, environment(home, folder / "bin", dict(self._row.environment)))

    def watch_healthy(self) -> dict[str, Cell]:
        """The cells of the healthy program: run twice alone, and once watched."""
        command = alone(self._row.launch)
        first, watched = self.place("alone", sick=False), self.place("watched", sick=False)
        second = self.place("again", sick=False) if self._repeats else first
        once = first.run(command)
        twice = second.run(command) if self._repeats else once
        packages = snapshot.of_site_packages()
        answer_file = watched.folder.parent / "answer.json"
        observed = watched.run(self.watching(answer_file))
        return {
            "same": self.judge_sameness(once, twice, observed),
            "silent": judge_silence(read_json(answer_file)),
            "clean": judge_leftovers([(first, second), (watched,)], snapshot.changes(packages, snapshot.of_site_packages())),
        }

    def watching(self, answer_file: Path) -> tuple[str, ...]:
        """The command line that watches."""
        options = ("--quiet", "--out", str(answer_file.with_name("run")), "--json", str(answer_file))
        return ("unvanish", "run", *options, *self._row.watch_options, *self._row.launch)

    def judge_sameness(self, once: Ended, twice: Ended, watched: Ended) -> Cell:
        """Whether output, errors, exit code, end and numbers are as unwatched."""
        if once.code != self._row.exit_code or twice.code != self._row.exit_code:
            return Cell(State.NO, f"alone it ends with {once.code} and {twice.code}: {once.errors.strip()[-200:]}")
        if watched.code is None:
            return Cell(State.NO, f"does not end within {RUN_LIMIT_S:.0f} s watched; alone it takes {once.seconds:.0f} s")
        if watched.code != once.code:
            return Cell(State.NO, f"exit code {watched.code} in place of {once.code}: {watched.errors.strip()[-200:]}")
        if watched.left_running > max(once.left_running, twice.left_running):
            return Cell(State.NO, f"{watched.left_running} processes go on after its end")
        differing, varying = differing_output(once, twice, watched) if self._repeats else (differing_roughly(once, watched), [])
        if differing:
            return Cell(State.NO, f"prints otherwise: {differing[0]}")
        if errors := new_errors(once, twice, watched):
            return Cell(State.NO, f"standard error has more: {errors[0]}")
        if self._row.repeats and any(line.startswith(FINGERPRINT) for line in varying):
            return Cell(State.NO, "its numbers vary between two runs alone, though the row says that they do not")
        return Cell(State.YES, f"but for {len(varying)} lines that vary alone too" if varying else "bit for bit")

    def watch_sick(self) -> Cell:
        """Whether the leading finding of the sick twin is what was put in."""
        assert self._row.twin is not None
        place = self.place("sick", sick=True)
        answer_file = place.folder.parent / "answer.json"
        ended = place.run(self.watching(answer_file))
        answer = read_json(answer_file)
        if answer is None:
            return Cell(State.NO, f"no diagnosis, exit code {ended.code}: {ended.errors.strip()[-200:]}")
        found = loud_findings(answer)
        if not found:
            return Cell(State.NO, f"nothing found, {judged_state(answer)}")
        leading = {found[0]["code"], (found[0].get("cause") or {}).get("code")}
        return yes_or_no(bool(leading & self._row.twin.findings), found[0]["code"])

    def fix_sick(self) -> dict[str, Cell]:
        """The cells of the race and of what comes of its patch."""
        row = self._row
        if row.twin is None or row.figure is None or not row.curable:
            return dict.fromkeys(sorted(CURES), does_not_apply(row.why or "no remedy of the catalogue is for it"))
        place = self.place("fix", sick=True)
        answer_file = place.folder.parent / "answer.json"
        before = (snapshot.by_content(place.folder), snapshot.by_content(place.home), snapshot.of_site_packages())
        options = ("--quiet", "--out", str(answer_file.with_name("run")), "--json", str(answer_file))
        ended = place.run(("unvanish", "fix", *options, *row.launch), FIX_LIMIT_S)
        after = (snapshot.by_content(place.folder), snapshot.by_content(place.home), snapshot.of_site_packages())
        changed = [change for old, new in zip(before, after, strict=True) for change in snapshot.changes(old, new)]
        left = [f"{ended.left_running} processes go on after its end"] if ended.left_running else []
        traceless = yes_or_no(not changed and not left, ", ".join(changed[:5] + left))
        answer = read_json(answer_file) or {}
        patch = answer.get("patch")
        if not patch or not answer.get("winner"):
            reason = race_summary(answer) or f"exit code {ended.code}: {ended.errors.strip()[-200:]}"
            unknown = does_not_apply("no patch")
            return {"fixed": Cell(State.NO, reason[:LONGEST_DETAIL]), "plain": unknown, "lasts": unknown, "traceless": traceless}
        (self._folder / "winner.patch").write_text(patch, encoding="utf-8")
        imports = [line for line in patch.splitlines() if line.startswith("+") and "unvanish" in line]
        winner = " + ".join(answer["winner"]) if isinstance(answer["winner"], list) else str(answer["winner"])
        return {
            "fixed": yes_or_no(ended.code == 0, winner if ended.code == 0 else f"exit code {ended.code}"),
            "plain": yes_or_no(not imports, imports[0] if imports else ""),
            "lasts": self.judge_cure(patch),
            "traceless": traceless,
        }

    def judge_cure(self, patch: str) -> Cell:
        """Whether the patched program alone learns, and its saved weights give the same figure elsewhere."""
        figure = self._row.figure
        assert figure is not None
        sick, place = self.place("untreated", sick=True), self.place("patched", sick=True)
        if refusal := apply_patch(place.folder, patch):
            return Cell(State.NO, f"the patch does not apply: {refusal}")
        without, treated = sick.run(alone(self._row.launch)), place.run(alone(self._row.launch))
        predicted = place.run(alone(self._row.predict))
        if treated.code != self._row.exit_code or predicted.code != 0:
            text = (treated if treated.code != self._row.exit_code else predicted).errors.strip()[-250:]
            return Cell(State.NO, f"patched, it ends with {treated.code}, and what loads its weights with {predicted.code}: {text}")
        values = [last_figure(ended.output, figure.name) for ended in (without, treated, predicted)]
        if values[1] is None or values[2] is None:
            return Cell(State.NO, f"no {figure.name} printed: {values}")
        as_it_was, trained, loaded = values[0], values[1], values[2]
        gain = float("inf") if as_it_was is None or as_it_was != as_it_was else trained - as_it_was
        gain = -gain if figure.lower_is_better and gain != float("inf") else gain
        told = f"{figure.name} {as_it_was} as it was, {trained} cured, {loaded} loaded elsewhere"
        return yes_or_no(gain >= figure.least_gain and trained == loaded, told)


def read_json(path: Path) -> dict[str, Any] | None:
    """The document at a path; None where there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def loud_findings(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The findings of a diagnosis of severity warning or above, the leading one first."""
    return [finding for finding in answer["findings"] if finding["severity"] in LOUD]


def judged_state(answer: dict[str, Any]) -> str:
    """The state that a diagnosis gives, in its own word."""
    return str(answer.get("state") or ("healthy" if answer["healthy"] else "not called healthy"))


def judge_silence(answer: dict[str, Any] | None) -> Cell:
    """Whether a healthy program got no finding."""
    if answer is None:
        return Cell(State.NO, "no diagnosis was written")
    found = loud_findings(answer)
    return yes_or_no(not found, ", ".join(finding["code"] for finding in found) or judged_state(answer))


def judge_leftovers(places: list[tuple[Place, ...]], packages: list[str]) -> Cell:
    """Whether what was watched left the files that the program leaves alone, and no package changed."""
    left: list[set[str]] = []
    for group in places:
        paths = [path for place in group for path in (*snapshot.by_content(place.folder), *snapshot.by_content(place.home))]
        left.append(snapshot.without_numbers(paths))
    extra = sorted(left[1] - left[0]) + packages
    return yes_or_no(not extra, ", ".join(extra[:5]))


def race_summary(answer: dict[str, Any]) -> str:
    """What came of the candidates of a race without a winner."""
    verdicts = answer.get("verdicts") or []
    return "no winner: " + ", ".join(f"{'+'.join(v['remedies'])} {v['outcome']}" for v in verdicts) if verdicts else ""


def missing_needs(row: Row) -> list[str]:
    """Of what a row needs, that which is not installed."""
    from importlib.util import find_spec

    return [
        name
        for name in row.needs
        if find_spec(name) is None
        and shutil.which(name, path=str(Path(sys.executable).parent)) is None
        and shutil.which(name) is None
    ]
