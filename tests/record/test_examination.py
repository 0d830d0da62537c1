"""An exact look is kept with its run: every value comes back; a run is read with it, without it, and beside what nobody knows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from examinations_by_hand import look
from rows import row, store_document, write

from unvanish.errors import RecordError
from unvanish.record.examination import Examination
from unvanish.record.gradient_flow import GradientFlow
from unvanish.record.storage.journal import Journal, load
from unvanish.record.storage.serialisation import to_plain


def stored(path: Path, examination: Examination | None) -> Path:
    """The file of a run of one step with that examination."""
    journal = Journal.create(path)
    write(journal, [row(1)])
    journal.write(examination=examination)
    journal.close()
    return path


def altered(path: Path, name: str, text: str) -> Path:
    """The file with another document under that name."""
    store_document(path, name, text)
    return path


def test_every_value_of_a_look_comes_back_bit_for_bit(tmp_path: Path) -> None:
    examination = load(stored(tmp_path / "run.sqlite", look())).examination
    assert repr(examination) == repr(look())  # which, unlike ==, knows NaN and the sign of a zero


def test_the_look_written_last_is_the_look(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "run.sqlite")
    journal.write(examination=look())
    journal.write(examination=replace(look(), prediction=None, spectra=()))
    examination = journal.read().examination
    journal.close()
    assert examination is not None
    assert (examination.prediction, examination.spectra) == (None, ())


def test_a_run_of_a_version_that_took_no_look_is_read(tmp_path: Path) -> None:
    assert load(stored(tmp_path / "run.sqlite", None)).examination is None


def test_a_look_of_a_version_that_counted_no_operations_is_read(tmp_path: Path) -> None:
    plain = to_plain(look())
    del plain["flops"]
    examination = load(altered(stored(tmp_path / "run.sqlite", look()), "examination", json.dumps(plain))).examination
    assert examination is not None
    assert examination.flops is None


def test_a_document_that_nobody_knows_is_passed_over(tmp_path: Path) -> None:
    path = altered(stored(tmp_path / "run.sqlite", look()), "hearing", '{"ears": 2}')
    assert repr(load(path).examination) == repr(look())


@pytest.mark.parametrize(
    "text",
    ['{"flow": 3}', "{}", '{"flow": null, "sound": 1}', json.dumps({"flow": {"network": "Net"}})],
    ids=["a number", "nothing", "a field that nobody knows", "half a flow"],
)
def test_a_look_that_does_not_fit_is_refused_with_what_it_is(tmp_path: Path, text: str) -> None:
    path = altered(stored(tmp_path / "run.sqlite", look()), "examination", text)
    with pytest.raises(RecordError, match="cannot be read"):
        load(path)


def test_the_sums_of_a_flow_are_those_of_its_terms_after_a_journey(tmp_path: Path) -> None:
    examination = load(stored(tmp_path / "run.sqlite", replace(look(), flow=plain()))).examination
    assert examination is not None
    for by in ("op", "module", "kind", "block"):
        assert examination.flow.shares(by) == plain().shares(by)
        assert sum(examination.flow.shares(by).values()) == pytest.approx(examination.flow.total, abs=1e-12)


def plain() -> GradientFlow:
    """The flow with finite terms: two operations and a junction behind the first."""
    flow = look().flow
    ops = tuple(replace(op, decades=-0.25, size=0.05, visits=1.0) for op in flow.ops)
    junctions = tuple(replace(junction, interference=-0.1) for junction in flow.junctions)
    return replace(flow, ops=ops, junctions=junctions, ends=0.0, log10_target_rms=flow.log10_source_rms - 0.5 + 0.1 + 0.2)
