"""The promises that remedies on the shelf do not keep yet: each is expected to fail, and told when it no longer does."""

from __future__ import annotations

import pytest

ADVICE = "test_its_refusals_say_what_to_do_instead"
OPEN = {
    **{
        f"Test{name}::{ADVICE}": "a refusal without advice"
        for name in ("Relu", "LeakyRelu", "Elu", "Selu", "Gelu", "Silu", "IdentityRnnInit", "ForgetBias", "Lstm", "Gru", "Logits")
    },
    "TestSkipInit::test_it_keeps_what_is_promised[partly frozen]": "a gate beside a frozen layer is trained by nobody",
    "TestSkipInit::test_it_keeps_what_is_promised[batch-normalised]": "parameters are enrolled twice",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        reason = OPEN.get(item.nodeid.partition("test_remedy_conformance.py::")[2])
        if reason is not None:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
