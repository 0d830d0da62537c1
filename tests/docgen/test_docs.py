"""The pages of docs/ are up to date with the docstrings, and every link in them leads to a page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from unvanish.diagnose.rules import built_in
from unvanish.diagnose.thresholds import all_thresholds
from unvanish.docgen import build_remedy_entries, build_rule_entry, find_treatments
from unvanish.docgen.cards import REMEDY_HEADINGS, RULE_HEADINGS, parse_card, parse_class_card, split_paragraphs
from unvanish.docgen.entries import find_thresholds
from unvanish.docgen.finding_groups import GROUPS, find_group
from unvanish.docgen.finding_pages import build_pages, write_pages
from unvanish.docgen.stored_races import REPRODUCE_COMMAND, describe_race, load_stored_races
from unvanish.docgen.terminal import capitalise_sentence
from unvanish.remedies import built_in_catalogue
from unvanish.remedies.base import FAMILIES

DOCS = Path(__file__).parents[2] / "docs"
CODES = [rule.code for rule in built_in()]


def read_committed_pages() -> dict[str, str]:
    """The committed pages of docs/ by path."""
    paths = [DOCS / "thresholds.md", *(DOCS / "findings").glob("*.md"), *(DOCS / "remedies").glob("*.md")]
    return {str(path.relative_to(DOCS)): path.read_text(encoding="utf-8") for path in paths if path.exists()}


def test_the_committed_pages_are_up_to_date() -> None:
    committed, built = read_committed_pages(), build_pages()
    stale = sorted(path for path in committed.keys() | built.keys() if committed.get(path) != built.get(path))
    assert stale == [], "run make docs"


def test_writing_the_pages_again_changes_nothing_and_deletes_stale_pages(tmp_path: Path) -> None:
    first = write_pages(tmp_path)
    texts = [path.read_text() for path in first]
    (tmp_path / "findings" / "a-rule-that-was.md").write_text("gone")
    (tmp_path / "remedies" / "a-remedy-that-was.md").write_text("gone")
    assert write_pages(tmp_path) == first
    assert [path.read_text() for path in first] == texts
    assert set(tmp_path.rglob("*.md")) == set(first)


@pytest.mark.parametrize("path", build_pages())
def test_every_link_of_a_page_leads_to_a_page(path: str) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", build_pages()[path]) if "://" not in link]
    assert links
    assert [link for link in links if not ((DOCS / path).parent / link).resolve().exists()] == []


def test_every_finding_is_in_one_group_of_the_index_and_in_order() -> None:
    listed = [code for codes in GROUPS.values() for code in codes]
    assert sorted(listed) == sorted(CODES)
    assert re.findall(r"^- \[([a-z-]+)\]", build_pages()["findings/README.md"], re.MULTILINE) == listed
    assert (find_group("dead-units"), find_group("a-code-of-a-plugin")) == ("activation", "")


def test_every_remedy_is_in_the_index_under_its_family() -> None:
    page = build_pages()["remedies/README.md"]
    listed = re.findall(r"^- \[([a-z-]+)\]", page, re.MULTILINE)
    assert sorted(listed) == sorted(built_in_catalogue())
    headings = [heading.lower() for heading in re.findall(r"^## (.+)$", page, re.MULTILINE)]
    assert headings == [family for family in FAMILIES if any(remedy.family == family for remedy in built_in_catalogue().values())]


@pytest.mark.parametrize("name", built_in_catalogue())
def test_the_page_of_a_remedy_has_its_card_its_races_and_what_it_treats(name: str) -> None:
    page, remedy = build_pages()[f"remedies/{name}.md"], built_in_catalogue()[name]
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == [*REMEDY_HEADINGS, "Raced", "Its place among the others"]
    assert f"`{REPRODUCE_COMMAND} {name}`" in page
    assert all(describe_race(raced) in page for raced in load_stored_races(name))
    with_a_page = [
        code for code in remedy.treats if f"findings/{code}.md" in build_pages()
    ]  # others are causes, named in the findings' pages
    assert all(f"[{code}](../findings/{code}.md)" in page for code in with_a_page)


def test_every_threshold_is_in_its_table_with_unit_origin_and_source() -> None:
    page = build_pages()["thresholds.md"]
    for name, threshold in all_thresholds().items():
        assert f"| `{name}` | {threshold.value:g} |" in page
        assert f"| {threshold.unit} | {threshold.origin} |" in page


@pytest.mark.parametrize("rule", built_in(), ids=lambda rule: rule.code)
def test_the_thresholds_of_a_rule_are_in_the_table(rule: object) -> None:
    assert set(find_thresholds(rule)) <= set(all_thresholds().items())  # type: ignore[arg-type]


def test_an_entry_lists_what_explains_a_finding_and_what_treats_it() -> None:
    rules = built_in()
    entry = build_rule_entry(next(rule for rule in rules if rule.code == "vanishing-gradient"), rules)
    facts = {fact.label: fact for fact in entry.facts}
    assert "dead-units" in facts["Explains"].names
    assert "saturated-activation" in facts["Explained by"].names
    assert {"relu", "batchnorm"} <= set(find_treatments("vanishing-gradient").names)
    last = build_rule_entry(next(rule for rule in rules if rule.code == "loss-not-decreasing"), rules)
    assert "any other finding" in last.facts[1].text


RUN_TOGETHER = """What it is, over
    two lines.

    Sees: one thing. Why it
    matters: it does (very much). Known problems: a ratio such as a: b, or "so." Example: none
    References: nobody."""
SET_APART = """What it is, over two lines.

    Sees: one thing.

    Why it matters: it does (very much).

    Known problems: a ratio such as a: b, or "so."

    Example: none

    References: nobody.
    """


@pytest.mark.parametrize("docstring", [RUN_TOGETHER, SET_APART], ids=["run together", "set apart"])
def test_a_card_is_parsed_with_joined_and_with_separate_paragraphs(docstring: str) -> None:
    card = parse_card(docstring)
    assert card.summary == "What it is, over two lines."
    assert [section.heading for section in card.sections] == list(RULE_HEADINGS)
    assert card.section("Sees") == "one thing."
    assert card.section("Why it matters") == "it does (very much)."
    assert card.section("Known problems") == 'a ratio such as a: b, or "so."'
    assert card.section("References") == "nobody."


def test_a_card_keeps_the_paragraphs_of_a_section_and_of_its_opening() -> None:
    card = parse_card("First.\n\nSecond.\n\nSees: one.\n\nMore of it.")
    assert [(section.heading, section.paragraphs) for section in card.sections] == [
        ("", ("Second.",)),
        ("Sees", ("one.", "More of it.")),
    ]
    assert card.section("Sees") == "one.\n\nMore of it."


@pytest.mark.parametrize("docstring", [None, "", "Just a sentence."])
def test_a_docstring_without_headings_gives_a_summary_only(docstring: str | None) -> None:
    card = parse_card(docstring)
    assert (card.summary, card.sections) == (docstring or "", ())
    assert card.section("Sees") == ""


def test_paragraphs_keep_the_author_s_order() -> None:
    assert split_paragraphs("One.\n\n    Sees: two,\n    and three.") == ("One.", "Sees: two, and three.")


def test_a_class_without_a_docstring_shows_no_card_of_its_parent() -> None:
    class Child(type(built_in()[0])):  # type: ignore[misc]
        pass

    assert parse_class_card(Child()).summary == ""


def test_every_remedy_has_all_sections_of_its_card() -> None:
    for entry in build_remedy_entries().values():
        assert [section.heading for section in entry.card.sections] == list(REMEDY_HEADINGS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the loss.", "The loss."),
        ("non-finite values.", "Non-finite values."),
        ("nn.Linear after it.", "nn.Linear after it."),
        ("`torch.autocast` with", "`torch.autocast` with"),
        ("LeCun 1998.", "LeCun 1998."),
        ("", ""),
    ],
)
def test_text_after_a_heading_begins_with_a_capital_where_it_is_a_word(text: str, expected: str) -> None:
    assert capitalise_sentence(text) == expected
