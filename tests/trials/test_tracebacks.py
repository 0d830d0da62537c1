"""Tracebacks of a script do not show the frames of this package."""

from __future__ import annotations

import math
import traceback
from types import SimpleNamespace

import pytest

from unvanish.monkey_patch import CallablePatch
from unvanish.trials.script.tracebacks import strip_own_frames


def test_a_patched_function_that_raises_shows_no_frame_of_the_patch() -> None:
    module = SimpleNamespace(sqrt=math.sqrt)
    with CallablePatch(module, "sqrt", lambda original, *args: original(*args)):
        patched = module.sqrt
    with pytest.raises(ValueError, match="math domain error") as caught:
        patched(-1.0)
    frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert frames == ["test_a_patched_function_that_raises_shows_no_frame_of_the_patch", "call"]
    stripped = traceback.extract_tb(strip_own_frames(caught.value.__traceback__))
    assert [frame.name for frame in stripped] == frames[:1]
