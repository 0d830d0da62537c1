"""The page of a run: self-contained, escaped, the same bytes for the same run, readable in light and dark."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from example_runs import FACTS, NOTED, VANISHING, make_run

from unvanish.errors import UsageError
from unvanish.record.finding import Finding
from unvanish.record.run import Run
from unvanish.record.structure import ModelStructure
from unvanish.report.page import run_page

VOID = {"meta", "link", "img", "br", "hr", "input", "line", "circle"}
DRAWN_WITH = re.compile(r"<script>(?!\n).*?</script>", re.DOTALL)


class Outline(HTMLParser):
    """Checks that elements close in order, and keeps what the tests ask about."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.stack, f"left open: {self.stack}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.stack):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def read(run: Run, *findings: Finding) -> str:
    """The words of the page as they are read, without the explanations that show on hover."""
    return Outline(re.sub(r'<span class="tip".*?</span>', "", own(run_page.render_page(run, list(findings))))).text


def own(text: str) -> str:
    """The page without the plotly library, which is the bulk of it."""
    return DRAWN_WITH.sub("", text)


def test_same_run_gives_the_same_bytes(raced: Run) -> None:
    assert run_page.render_page(raced, [VANISHING]) == run_page.render_page(raced, [VANISHING])


def test_same_run_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from example_runs import make_run, VANISHING\n"
        "from unvanish.report.page import run_page\n"
        "import hashlib; print(hashlib.sha256(run_page.render_page(make_run(decades=-6.1), [VANISHING]).encode()).hexdigest())\n"
        "assert 'torch' not in sys.modules, 'the report imported torch'\n"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent)]
    prints = {
        subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}).stdout
        for seed in ("1", "2")
    }
    assert len(prints) == 1


@pytest.mark.parametrize("name", ["sick", "healthy", "diverged", "raced"])
def test_every_element_of_the_page_is_closed(name: str, request: pytest.FixtureRequest) -> None:
    findings = [] if name == "healthy" else [VANISHING, NOTED]
    outline = Outline(own(run_page.render_page(request.getfixturevalue(name), findings)))
    identities = [attributes["id"] for _, attributes in outline.elements if "id" in attributes]
    assert len(identities) == len(set(identities))


def test_nothing_is_loaded_from_elsewhere(raced: Run) -> None:
    text = run_page.render_page(raced, [VANISHING])
    outline = Outline(own(text))
    assert not [tag for tag, attributes in outline.elements if {"src", "href", "srcset"} & set(attributes)]
    assert "url(" not in own(text)
    assert "@import" not in own(text)
    policies = [attributes["content"] for attributes in outline.all("meta") if "http-equiv" in attributes]
    assert policies
    assert policies[0] is not None
    assert policies[0].startswith("default-src 'none'")


def test_plotly_is_inlined_once_and_only_where_there_is_a_figure(sick: Run) -> None:
    empty = Run(FACTS, ModelStructure(), np.zeros(0, np.int64), {}, np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 0)))
    assert len(DRAWN_WITH.findall(run_page.render_page(sick, [VANISHING]))) == 1
    assert len(run_page.render_page(empty, [])) < 50_000


def test_every_figure_has_a_title_a_text_alternative_and_its_numbers(raced: Run) -> None:
    outline = Outline(own(run_page.render_page(raced, [VANISHING])))
    figures = outline.all("figure")
    images = [attributes for attributes in outline.all("div") if attributes.get("role") == "img"]
    assert len(figures) == len(images) >= 4
    assert all(len(attributes["aria-label"] or "") > 40 for attributes in images)
    assert outline.text.count("The numbers behind this picture") == len(figures)
    titles = {attributes["id"] for level in ("h2", "h3") for attributes in outline.all(level) if "id" in attributes}
    assert {attributes["aria-labelledby"] for attributes in figures} == titles


def test_the_figures_in_the_page_are_valid_json_that_cannot_end_their_element(sick: Run) -> None:
    hostile = replace(VANISHING, code="</script><script>alert(1)")
    text = own(run_page.render_page(sick, [hostile]))
    drawings = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL)
    assert len(drawings) >= 3
    for drawing in drawings:
        assert set(json.loads(drawing)) >= {"data", "layout"}


def test_what_a_user_wrote_is_escaped(sick: Run) -> None:
    hostile = replace(VANISHING, summary="<img src=x onerror=alert(1)>", why="<b>bold</b>", sites=("<i>",))
    run = replace(sick, facts=replace(FACTS, script="<script>.py", machine="<u>"))
    text = own(run_page.render_page(run, [hostile]))
    assert not re.search(r"<img|<b>bold|<i>|<u>|<script>\.py", text)


def test_the_card_of_a_race_names_the_winner_and_its_result(raced: Run) -> None:
    text = read(raced, VANISHING)
    assert "Apply relu" in text
    assert "three times: 96 % right, at the same speed." in text
    assert "10 % → 96 %" in text


def test_the_page_explains_each_term_once_and_in_the_glossary(sick: Run) -> None:
    text = own(run_page.render_page(sick, [VANISHING]))
    terms = re.findall(r'aria-describedby="tip-([\w-]+)"', text)
    assert {"gradient", "layer", "decade"} <= set(terms)
    assert len(terms) == len(set(terms))
    assert {f"word-{term}" for term in terms} == set(re.findall(r'<dt id="(word-[\w-]+)"', text))
    assert text.count('class="term" tabindex="0"') == len(terms)


def test_the_page_has_every_value_of_a_finding(sick: Run) -> None:
    text = read(sick, VANISHING)
    for part in (
        "\u22126.10",
        "\u22123.00",
        "log10",
        "Zhang 2021",
        "digits_sigmoid.py:21",
        "nn.Sigmoid()",
        "saturating-activation",
    ):
        assert part in text, part
    for part in ("78 %", "loss-not-decreasing", "relu + he-init, batchnorm, elu", 'unvanish.apply(model, "relu", "he-init")'):
        assert part in text, part


def test_sections_without_content_are_left_out(healthy: Run) -> None:
    text = read(healthy)
    assert "healthy" in text
    assert "findings" not in text
    assert "raced" not in text
    assert "What to do" not in text


def test_a_script_that_failed_is_named_on_the_card(healthy: Run) -> None:
    run = replace(healthy, facts=replace(FACTS, ending="ValueError", faults=("hooks were let go at step 40",)))
    text = read(run)
    assert "The script ended with ValueError at step 300." in text
    assert "hooks were let go at step 40" in text


def test_few_steps_are_not_called_healthy() -> None:
    text = read(make_run(depth=3, steps=6, sampled=[1, 2, 3]))
    assert "6 steps are too few to judge" in text
    assert "No problem" not in text


def test_writing_replaces_the_page_as_a_whole(healthy: Run, tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    target.write_text("old")
    assert run_page.write_page(target, healthy, []) == target
    assert target.read_text(encoding="utf-8") == run_page.render_page(healthy, [])
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_folder_that_cannot_be_written_raises_a_usage_error(healthy: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be written to .*choose another folder with --out"):
        run_page.write_page(tmp_path / "missing" / "report.html", healthy, [])


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


STATES = ("sick", "unwell", "healthy", "unknown")
PAIRS = [
    *((text, ground) for text in ("ink", "quiet", "link") for ground in ("paper", "card")),
    ("ink", "code"),
    *((state, f"{state}-ground") for state in STATES),
    *(("ink", f"{state}-ground") for state in STATES),
]


@pytest.mark.parametrize("side", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), PAIRS)
def test_text_has_enough_contrast_with_its_background(side: int, text: str, ground: str) -> None:
    css = resources.files("unvanish.report.page").joinpath("page.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", blocks[side]))
    assert contrast(colours[text], colours[ground]) >= 4.5
