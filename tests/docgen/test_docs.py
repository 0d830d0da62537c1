"""The pages of docs/ are what the cards make of them, and every link in them leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from unvanish.diagnose.rules import built_in
from unvanish.diagnose.thresholds import table
from unvanish.docgen import remedy_leaves, rule_leaf, treated_by
from unvanish.docgen.cards import OF_A_REMEDY, OF_A_RULE, card_of, own_paragraphs, read
from unvanish.docgen.entries import thresholds_of
from unvanish.docgen.finding_groups import GROUPS, group_of
from unvanish.docgen.finding_pages import pages, write
from unvanish.docgen.stored_races import AGAIN, stored, told
from unvanish.docgen.terminal import sentence
from unvanish.remedies import built_in_catalogue
from unvanish.remedies.base import FAMILIES

DOCS = Path(__file__).parents[2] / "docs"
CODES = [rule.code for rule in built_in()]


def kept() -> dict[str, str]:
    """The pages as they stand in docs/."""
    made = [DOCS / "thresholds.md", *(DOCS / "findings").glob("*.md"), *(DOCS / "remedies").glob("*.md")]
    return {str(path.relative_to(DOCS)): path.read_text(encoding="utf-8") for path in made if path.exists()}


def test_the_pages_are_what_make_docs_makes() -> None:
    stands, made = kept(), pages()
    stale = sorted(path for path in stands.keys() | made.keys() if stands.get(path) != made.get(path))
    assert stale == [], "run make docs"


def test_making_the_pages_again_changes_nothing_and_takes_away_what_is_no_more(tmp_path: Path) -> None:
    first = write(tmp_path)
    texts = [path.read_text() for path in first]
    (tmp_path / "findings" / "a-rule-that-was.md").write_text("gone")
    (tmp_path / "remedies" / "a-remedy-that-was.md").write_text("gone")
    assert write(tmp_path) == first
    assert [path.read_text() for path in first] == texts
    assert set(tmp_path.rglob("*.md")) == set(first)


@pytest.mark.parametrize("path", pages())
def test_every_link_of_a_page_leads_to_a_page(path: str) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", pages()[path]) if "://" not in link]
    assert links
    assert [link for link in links if not ((DOCS / path).parent / link).resolve().exists()] == []


def test_every_finding_stands_in_one_group_of_the_index_and_in_order() -> None:
    listed = [code for codes in GROUPS.values() for code in codes]
    assert sorted(listed) == sorted(CODES)
    assert re.findall(r"^- \[([a-z-]+)\]", pages()["findings/README.md"], re.MULTILINE) == listed
    assert (group_of("dead-units"), group_of("a-code-of-a-plugin")) == ("activation", "")


def test_every_remedy_stands_in_the_index_under_its_family() -> None:
    page = pages()["remedies/README.md"]
    listed = re.findall(r"^- \[([a-z-]+)\]", page, re.MULTILINE)
    assert sorted(listed) == sorted(built_in_catalogue())
    headings = [heading.lower() for heading in re.findall(r"^## (.+)$", page, re.MULTILINE)]
    assert headings == [family for family in FAMILIES if any(each.family == family for each in built_in_catalogue().values())]


@pytest.mark.parametrize("name", built_in_catalogue())
def test_the_page_of_a_remedy_has_its_card_its_races_and_what_it_treats(name: str) -> None:
    page, remedy = pages()[f"remedies/{name}.md"], built_in_catalogue()[name]
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == [*OF_A_REMEDY, "Raced", "Its place among the others"]
    assert f"`{AGAIN} {name}`" in page
    assert all(told(raced) in page for raced in stored(name))
    with_a_page = [
        code for code in remedy.treats if f"findings/{code}.md" in pages()
    ]  # others are causes, named in the findings' pages
    assert all(f"[{code}](../findings/{code}.md)" in page for code in with_a_page)


def test_every_threshold_stands_in_its_table_with_unit_origin_and_source() -> None:
    page = pages()["thresholds.md"]
    for name, threshold in table().items():
        assert f"| `{name}` | {threshold.value:g} |" in page
        assert f"| {threshold.unit} | {threshold.origin} |" in page


@pytest.mark.parametrize("rule", built_in(), ids=lambda rule: rule.code)
def test_a_rule_goes_by_thresholds_of_the_one_table(rule: object) -> None:
    assert set(thresholds_of(rule)) <= set(table().items())  # type: ignore[arg-type]


def test_what_explains_a_finding_and_what_treats_it_is_told_with_it() -> None:
    rules = built_in()
    leaf = rule_leaf(next(rule for rule in rules if rule.code == "vanishing-gradient"), rules)
    facts = {fact.label: fact for fact in leaf.facts}
    assert "dead-units" in facts["Explains"].names
    assert "saturated-activation" in facts["Explained by"].names
    assert {"relu", "batchnorm"} <= set(treated_by("vanishing-gradient").names)
    last = rule_leaf(next(rule for rule in rules if rule.code == "loss-not-decreasing"), rules)
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
def test_a_card_is_read_however_its_paragraphs_are_set(docstring: str) -> None:
    card = read(docstring)
    assert card.summary == "What it is, over two lines."
    assert [section.heading for section in card.sections] == list(OF_A_RULE)
    assert card.section("Sees") == "one thing."
    assert card.section("Why it matters") == "it does (very much)."
    assert card.section("Known problems") == 'a ratio such as a: b, or "so."'
    assert card.section("References") == "nobody."


def test_a_card_keeps_the_paragraphs_of_a_section_and_of_its_opening() -> None:
    card = read("First.\n\nSecond.\n\nSees: one.\n\nMore of it.")
    assert [(section.heading, section.paragraphs) for section in card.sections] == [
        ("", ("Second.",)),
        ("Sees", ("one.", "More of it.")),
    ]
    assert card.section("Sees") == "one.\n\nMore of it."


@pytest.mark.parametrize("docstring", [None, "", "Just a sentence."])
def test_a_docstring_that_is_no_card_gives_what_it_has(docstring: str | None) -> None:
    card = read(docstring)
    assert (card.summary, card.sections) == (docstring or "", ())
    assert card.section("Sees") == ""


def test_paragraphs_are_told_as_the_author_set_them() -> None:
    assert own_paragraphs("One.\n\n    Sees: two,\n    and three.") == ("One.", "Sees: two, and three.")


def test_a_class_without_a_docstring_shows_no_card_of_its_parent() -> None:
    class Child(type(built_in()[0])):  # type: ignore[misc]
        pass

    assert card_of(Child()).summary == ""


def test_every_remedy_has_all_sections_of_its_card() -> None:
    for leaf in remedy_leaves().values():
        assert [section.heading for section in leaf.card.sections] == list(OF_A_REMEDY)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("the loss.", "The loss."),
        ("non-finite values.", "Non-finite values."),
        ("nn.Linear after it.", "nn.Linear after it."),
        ("`torch.autocast` with", "`torch.autocast` with"),
        ("LeCun 1998.", "LeCun 1998."),
        ("", ""),
    ],
)
def test_what_stood_behind_a_heading_begins_as_a_sentence(text: str, said: str) -> None:
    assert sentence(text) == said
