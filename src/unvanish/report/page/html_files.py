"""Loads the HTML templates and assets of a page, and writes a finished page to disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup

from unvanish.errors import UsageError
from unvanish.report.wording.numbers import typeset


def write_html(path: Path | str, html: str, *, noun: str) -> Path:
    """Writes the page and returns its path; a reader sees the old file or the complete new one, never a part of it.

    Raises UsageError where the folder cannot be written; `noun` is what its message calls the page.
    """
    target = Path(path)
    draft = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        draft.write_text(html, encoding="utf-8")
        draft.replace(target)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise UsageError(
            f"the {noun} cannot be written to {target} ({error.strerror}); choose another folder with --out"
        ) from error
    return target


def load_template(name: str, **filters: Callable[..., Any]) -> Template:
    """The template of that file name, with these filters besides `typeset` and `figure_to_json`."""
    environment = Environment(
        loader=FunctionLoader(read_asset), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters |= {"typeset": typeset, "figure_to_json": figure_to_json, **filters}
    return environment.get_template(name)


def read_asset(name: str) -> str:
    """The text of a template, style sheet or script of this package."""
    return resources.files("unvanish.report.page").joinpath(name).read_text(encoding="utf-8")


def figure_to_json(figure: go.Figure) -> Markup:
    """The figure as JSON that can stand inside a script element: it holds no character that could end the element."""
    return Markup(str(figure.to_json(engine="json")).replace("<", "\\u003c"))
