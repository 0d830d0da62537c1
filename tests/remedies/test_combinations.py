"""Tests of which combinations of remedies are considered for findings, which are raced, and in which order."""

from __future__ import annotations

from unvanish.remedies.combinations import candidate_combinations, combinations_to_race
from unvanish.remedies.registry import built_in_catalogue


def test_remedies_of_an_earlier_code_come_first() -> None:
    combinations = candidate_combinations((), ("optimizer-epsilon", "gradient-underflow"), built_in_catalogue())
    assert combinations == (("epsilon",), ("loss-scaling",))
    assert candidate_combinations((), ("gradient-underflow", "optimizer-epsilon"), built_in_catalogue()) == combinations[::-1]


def test_a_remedy_with_a_partner_is_raced_only_with_it_and_advised_pairs_stay() -> None:
    advised = ("elu", "glorot-init + batchnorm", "batchnorm", "a-stranger", "elu + he-init")
    combinations = combinations_to_race(advised, (), built_in_catalogue())
    assert combinations == (("elu", "he-init"), ("glorot-init", "batchnorm"), ("batchnorm",))


def test_non_finite_values_from_logarithms_get_bounded_logits_and_skipped_steps() -> None:
    assert set(combinations_to_race((), ("non-finite", "numerical-domain"), built_in_catalogue())) == {
        ("skip-non-finite",),
        ("bounded-logits",),
    }
