"""Several processes' records become one: sizes of the whole, losses of all, and where the processes differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rows import row, write

from unvanish.record.quantities import QUANTITIES, MergedBy
from unvanish.record.ranks.merge import merge_runs
from unvanish.record.ranks.process import TrainingProcess
from unvanish.record.run import Run
from unvanish.record.storage.file_names import RANKS_FOLDER, RUN_FILE
from unvanish.record.storage.journal import Journal, load
from unvanish.record.storage.run_folder import load_folder, store_run
from unvanish.record.structure import Network, Parameter, Site
from unvanish.report.wording.rank_notes import describe_processes, list_differences
from unvanish.testing import records


def rank_of(run: Run, rank: int | None, count: int = 2, **facts: object) -> Run:
    process = TrainingProcess(100 + (rank or 0), "host", "job", float(rank or 0), rank, count if rank is not None else 1)
    return replace(run, facts=replace(run.facts, process=process, **facts))


def with_values(run: Run, name: str, values: Sequence[float] | float, column: int = 0) -> Run:
    matrix = run.readings[name].copy()
    matrix[:, column] = values
    return replace(run, readings={**run.readings, name: matrix})


def divided(run: Run, size: int) -> Run:
    """The run of a process that holds `size` elements of the first parameter."""
    first, *others = run.structure.parameters
    return replace(run, structure=replace(run.structure, parameters=(replace(first, local_size=size), *others)))


def test_equal_processes_merge_to_one_of_them() -> None:
    run = records.healthy()
    merged = merge_runs([rank_of(run, rank, 3) for rank in range(3)])
    assert merged.structure == run.structure
    for quantity in QUANTITIES:
        factor = 3 if quantity.merged_by is MergedBy.SUM and quantity.name != "batch_size" else 1
        expected = run.readings[quantity.name] * factor
        np.testing.assert_allclose(merged.readings[quantity.name], expected, atol=1e-6, err_msg=quantity.name)
    np.testing.assert_allclose(merged.losses, run.losses)


def test_parts_of_a_weight_add_up_to_the_whole() -> None:
    random = np.random.default_rng(0)
    weight, gradient = random.normal(size=100) * 1e-40, random.normal(size=100) + 0.3
    parts = (slice(0, 70), slice(70, 100), slice(100, 100))

    def part(run: Run, where: slice) -> Run:
        w, g = weight[where], gradient[where]
        run = divided(run, len(w))
        log10_rms = [np.log10(np.sqrt(np.mean(v**2))) if len(v) else np.nan for v in (w, g)]
        cosine = w @ g / np.sqrt((w @ w) * (g @ g)) if len(w) else np.nan
        for name, value in zip(("log10_weight_rms", "log10_weight_gradient_rms"), log10_rms, strict=True):
            run = with_values(run, name, value)
        return with_values(run, "gradient_along_weight", cosine)

    base = records.healthy()
    merged = merge_runs([rank_of(part(base, where), rank, 3) for rank, where in enumerate(parts)])
    whole = part(base, slice(0, 100))
    assert merged.structure.parameters[0].local_size is None
    for name in ("log10_weight_rms", "log10_weight_gradient_rms", "gradient_along_weight"):
        np.testing.assert_allclose(merged.readings[name][:, 0], whole.readings[name][:, 0], rtol=1e-6, err_msg=name)


def test_activations_are_described_over_all_examples() -> None:
    outputs = np.random.default_rng(1).normal(2.0, 3.0, size=300)
    base = records.healthy()

    def seen(values: np.ndarray) -> Run:
        run = with_values(with_values(base, "activation_mean", values.mean()), "activation_std", values.std())
        return with_values(with_values(run, "batch_size", len(values)), "nonfinite_count", 2.0)

    merged = merge_runs([seen(outputs[:100]), seen(outputs[100:])])
    assert merged.readings["activation_mean"][0, 0] == pytest.approx(outputs.mean())
    assert merged.readings["activation_std"][0, 0] == pytest.approx(outputs.std())
    assert merged.readings["nonfinite_count"][0, 0] == 4.0


def test_only_steps_that_every_process_sampled_stay_and_one_that_ended_early_takes_none_away() -> None:
    run = records.healthy()
    fewer = replace(run, sampled=run.sampled[::2], readings={name: values[::2] for name, values in run.readings.items()})
    merged = merge_runs([run, fewer])
    assert merged.sampled.tolist() == run.sampled[::2].tolist()
    steps = run.steps <= 50
    sampled = run.sampled <= 50
    short = replace(
        run,
        steps=run.steps[steps],
        ended_s=run.ended_s[steps],
        losses=run.losses[steps] + 1.0,
        sampled=run.sampled[sampled],
        readings={name: values[sampled] for name, values in run.readings.items()},
    )
    merged = merge_runs([rank_of(run, 0), rank_of(short, 1, ending="running")])
    assert merged.sampled.tolist() == run.sampled.tolist()
    np.testing.assert_allclose(merged.losses[:50, 0], run.losses[:50, 0] + 0.5)
    np.testing.assert_allclose(merged.losses[50:, 0], run.losses[50:, 0])
    differences = list_differences(merged)
    assert differences[0] == "Rank 1 was ended from outside, or never ended, at step 50."
    assert differences[-1] == "They made different numbers of steps: rank 0 200, rank 1 50."


def test_a_stage_that_another_process_lacks_is_added() -> None:
    run = records.healthy()
    last = len(run.structure.parameters) - 1
    stage = replace(
        run.structure,
        networks=(Network("second", "Decoder"),),
        sites=tuple(Site(0, f"d.{i}", "linear", "weight", i, parameters=(min(i, last),)) for i in range(len(run.structure.sites))),
        parameters=tuple(Parameter(0, f"d.{i}.weight", p.shape, group=0) for i, p in enumerate(run.structure.parameters)),
        heads=(),
    )
    merged = merge_runs([rank_of(run, 0), rank_of(replace(run, structure=stage), 1)])
    sites, parameters = len(run.structure.sites), len(run.structure.parameters)
    assert len(merged.structure.sites) == 2 * sites
    assert merged.structure.sites[-1].network == len(run.structure.networks)
    assert merged.structure.sites[-1].parameters == (last + parameters,)
    np.testing.assert_allclose(merged.readings["activation_std"][:, sites:], run.readings["activation_std"], rtol=1e-6)
    assert merged.facts.ranks[1].differs_from is None


def test_ranks_are_named_and_the_first_that_broke_is_found() -> None:
    run = records.healthy()
    losses = run.losses.copy()
    losses[9:] = np.inf
    late = losses.copy()
    late[9] = 1.0
    runs = [rank_of(replace(run, losses=late + rank * 1e-9), rank, 1000) for rank in range(999)]
    runs[7] = rank_of(replace(run, losses=losses), 7, 1000)
    merged = merge_runs(runs)
    assert describe_processes(merged) == "999 processes: ranks 0 to 998"
    differences = list_differences(merged)
    assert differences[0].startswith("One of the 1000 processes left no record here")
    assert differences[1].startswith(
        "Rank 7 computed NaN or infinite values first, at step 10; it has reached ranks 0 to 6 and ranks 8"
    )


def test_a_folder_of_processes_reads_as_one_run_and_a_restarted_rank_counts_once(tmp_path: Path) -> None:
    (tmp_path / RANKS_FOLDER).mkdir()
    for name, rank, started in (("0", 0, 1.0), ("1", 1, 1.0), ("1-2", 1, 5.0), ("9", None, 9.0)):
        journal = Journal.create(tmp_path / RANKS_FOLDER / f"{name}.sqlite")
        write(journal, [row(step) for step in range(1, 6 if name != "1" else 3)])
        job = "job" if rank is not None else "another"
        process = TrainingProcess(int(started), "host", job, started, rank, 2 if rank is not None else 1)
        journal.write(facts=replace(journal.read().facts, process=process, ending="finished"))
        journal.close()
    (tmp_path / RANKS_FOLDER / "2.sqlite").write_bytes(b"no record")
    run = load_folder(tmp_path)
    assert [(rank.process.rank, rank.steps, rank.process.started) for rank in run.facts.ranks] == [(0, 5, 1.0), (1, 5, 5.0)]
    assert "2.sqlite" in run.facts.faults[-1]
    store_run(tmp_path / RUN_FILE, run)
    stored = load(tmp_path / RUN_FILE)
    assert stored.facts == run.facts
    assert stored.structure == run.structure
    for name, values in run.readings.items():
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(stored.readings[name], values.astype(np.float32), err_msg=name)
    np.testing.assert_array_equal(stored.losses, run.losses)
    assert load_folder(tmp_path).facts == run.facts
