"""What a row of the table is: a program, how it is started, and how its sick twin differs from it."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Replacement:
    """A text of one file of a program, and what stands there in its sick twin; every occurrence is replaced."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Twin:
    """What makes a healthy program sick, and the codes of which the leading finding, or its cause, must be one."""

    replacements: tuple[Replacement, ...]
    findings: frozenset[str]


@dataclass(frozen=True, slots=True)
class Figure:
    """The figure that a program prints as `name value`, and by how much a cure must better it."""

    name: str
    least_gain: float
    lower_is_better: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A program of the table.

    Arguments:
        name: what the row is called on the command line.
        group: the heading that it stands under.
        title: what it shows, for the page.
        program: its folder below `programs`; what stands in `programs/shared` is laid under it.
        shared_into: the folder below the program's in which the shared files are laid.
        launch: what a person types: a script and its arguments, `-m` and a module, or a console script.
        exit_code: with which it ends, unwatched.
        watch_options: options of `unvanish run`.
        environment: variables that are set for it.
        twin: how its sick twin differs; None where nothing can be sick.
        figure: what tells how well it learned; None where the program saves no network.
        predict: what a person types to use the saved weights in a process of its own.
        curable: whether a remedy of the catalogue cures the twin.
        repeats: whether two runs without unvanish print the same figures.
        needs: packages, beside torch and scikit-learn, and programs without which it is left out.
        why: what is to be said about its cells that are not green by design, a line.
    """

    name: str
    group: str
    title: str
    program: str
    shared_into: str = "."
    launch: tuple[str, ...] = ("train.py",)
    exit_code: int = 0
    watch_options: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    twin: Twin | None = None
    figure: Figure | None = None
    predict: tuple[str, ...] = ("predict.py",)
    curable: bool = True
    repeats: bool = True
    needs: tuple[str, ...] = ()
    why: str = ""


class State(enum.StrEnum):
    """How a cell of the table came out."""

    YES = "yes"
    NO = "no"
    DOES_NOT_APPLY = "-"


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: how it came out, and the words or the figure behind it."""

    state: State
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table: what it is called, and what "yes" means in it."""

    name: str
    heading: str
    meaning: str


COLUMNS = (
    Column(
        "same",
        "runs the same",
        "output, exit code and end are those of the unwatched run, and so are losses, weights and random state, bit for bit",
    ),
    Column("silent", "healthy: silent", "the healthy program gets no finding of severity warning or above"),
    Column(
        "clean",
        "run leaves nothing",
        "the program's folder, the home folder and site-packages hold after `unvanish run` what they hold after the program alone",
    ),
    Column("named", "sick: named", "the leading finding of the sick twin is the fault that was put in"),
    Column("fixed", "fixed", "`unvanish fix` proves a winner for the sick twin"),
    Column("plain", "plain PyTorch", "the winner's patch does not import unvanish"),
    Column(
        "lasts",
        "cure lasts",
        "the patched program alone learns, and its saved weights give the same figure in a process of its own",
    ),
    Column(
        "traceless",
        "fix leaves nothing",
        "the program's folder, the home folder and site-packages are byte for byte as before `unvanish fix`",
    ),
)


@dataclass(frozen=True, slots=True)
class RowResult:
    """The cells of a row by column, and the state of the sources that they were measured with."""

    name: str
    stamp: str
    cells: dict[str, Cell] = field(default_factory=dict)
