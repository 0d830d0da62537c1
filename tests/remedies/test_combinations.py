"""Which remedies are considered for findings, which take part in a race, and in which order. Nothing is applied."""

from __future__ import annotations

from unvanish.remedies.combinations import candidates, contenders
from unvanish.remedies.registry import built_in_catalogue


def test_what_treats_the_finding_comes_before_what_treats_its_cause() -> None:
    found = candidates((), ("optimizer-epsilon", "gradient-underflow"), built_in_catalogue())
    assert found == (("epsilon",), ("loss-scaling",))
    assert candidates((), ("gradient-underflow", "optimizer-epsilon"), built_in_catalogue()) == found[::-1]


def test_a_remedy_with_a_partner_races_with_it_alone_and_advised_pairs_stay() -> None:
    found = contenders(("elu", "glorot-init + batchnorm", "batchnorm", "a-stranger", "elu + he-init"), (), built_in_catalogue())
    assert found == (("elu", "he-init"), ("glorot-init", "batchnorm"), ("batchnorm",))


def test_a_loss_that_takes_logarithms_by_hand_has_what_bounds_them_and_what_passes_over_the_rest() -> None:
    assert set(contenders((), ("non-finite", "numerical-domain"), built_in_catalogue())) == {
        ("skip-non-finite",),
        ("bounded-logits",),
    }
