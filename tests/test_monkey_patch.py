"""A patched callable is what it was once the patch is removed, whoever else has patched it meanwhile."""

from __future__ import annotations

import functools
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from unvanish.monkey_patch import CallablePatch, skipped_by_warnings


def shout(text: str, *, mark: str = "!") -> str:
    """Text with a mark."""
    return text + mark


class Speaker:
    def __init__(self, mark: str = "!") -> None:
        self.mark = mark

    def say(self, text: str) -> str:
        return text + self.mark

    @staticmethod
    def join(first: str, second: str) -> str:
        return first + second

    @classmethod
    def title(cls) -> str:
        return cls.__name__


class LoudSpeaker(Speaker):
    pass


def bracketing(opening: str) -> Callable[..., Any]:
    """A wrapper that puts a bracket around the result."""

    def wrapper(original: Callable[..., Any], /, *args: Any, **kwargs: Any) -> str:
        return f"{opening}{original(*args, **kwargs)}"

    return wrapper


@pytest.fixture
def module() -> SimpleNamespace:
    return SimpleNamespace(shout=shout)


def test_a_wrapper_gets_the_original_and_the_arguments_and_answers_for_it(module: SimpleNamespace) -> None:
    received: list[Any] = []

    def record(original: Callable[..., Any], /, *args: Any, **kwargs: Any) -> str:
        received.append((original, args, kwargs))
        return "other"

    with CallablePatch(module, "shout", record):
        assert module.shout("a", mark="?") == "other"
    assert received == [(shout, ("a",), {"mark": "?"})]
    assert module.shout is shout


def test_a_replacement_looks_like_the_original(module: SimpleNamespace) -> None:
    with CallablePatch(module, "shout", bracketing("<")):
        assert (module.shout.__name__, module.shout.__doc__, module.shout.__wrapped__) == ("shout", "Text with a mark.", shout)


@pytest.mark.parametrize("fault", [ValueError("theirs"), KeyboardInterrupt(), SystemExit(3)])
def test_an_exception_passes_through_and_the_original_is_restored(module: SimpleNamespace, fault: BaseException) -> None:
    def fail(*_: Any) -> None:
        raise fault

    module.shout = fail
    with pytest.raises(type(fault)) as caught, CallablePatch(module, "shout", bracketing("<")):
        module.shout("a")
    assert caught.value is fault
    assert module.shout is fail


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0), (0, 2, 1), (2, 0, 1)])
def test_nested_patches_can_be_removed_in_any_order(module: SimpleNamespace, order: tuple[int, ...]) -> None:
    marks = "<(["
    patches = [CallablePatch(module, "shout", bracketing(mark)) for mark in marks]
    for patch in patches:
        patch.install()
    assert module.shout("a") == "[(<a!"
    remaining = set(range(3))
    for index in order:
        patches[index].remove()
        remaining.discard(index)
        assert module.shout("a") == "".join(marks[i] for i in sorted(remaining, reverse=True)) + "a!"
    assert module.shout is shout


def test_a_wrapper_of_somebody_else_stays_and_ours_passes_calls_on(module: SimpleNamespace) -> None:
    patch = CallablePatch(module, "shout", bracketing("<"))
    patch.install()
    ours = module.shout

    @functools.wraps(ours)
    def theirs(text: str) -> str:
        return f"theirs {ours(text)}"

    module.shout = theirs
    assert module.shout("a") == "theirs <a!"
    second = CallablePatch(module, "shout", bracketing("("))
    second.install()
    patch.remove()
    second.remove()
    assert module.shout is theirs
    assert module.shout("a") == "theirs a!"
    module.shout = ours
    assert module.shout("a") == "a!"


def test_a_patch_can_be_installed_again_after_it_stepped_aside(module: SimpleNamespace) -> None:
    patch = CallablePatch(module, "shout", bracketing("<"))
    patch.install()
    ours = module.shout
    module.shout = lambda text: f"theirs {ours(text)}"
    patch.remove()
    patch.install()
    assert module.shout("a") == "<theirs a!"
    with pytest.raises(RuntimeError, match="shout is patched already"):
        patch.install()
    patch.remove()
    patch.remove()
    assert module.shout("a") == "theirs a!"


def test_an_owner_that_deleted_the_attribute_does_not_get_it_back(module: SimpleNamespace) -> None:
    with CallablePatch(module, "shout", bracketing("<")):
        del module.shout
    assert vars(module) == {}


def test_a_missing_attribute_and_one_that_is_no_callable_are_refused(module: SimpleNamespace) -> None:
    module.size = 3
    with pytest.raises(AttributeError, match="whisper"):
        CallablePatch(module, "whisper", bracketing("<")).install()
    with pytest.raises(TypeError, match="3 is not callable"):
        CallablePatch(module, "size", bracketing("<")).install()
    assert vars(module) == {"shout": shout, "size": 3}


def test_a_method_of_a_class_is_patched_for_every_instance() -> None:
    original = Speaker.say
    with CallablePatch(Speaker, "say", bracketing("<")):
        assert Speaker().say("a") == "<a!"
        assert LoudSpeaker("?").say("a") == "<a?"
    assert Speaker.say is original


def test_an_inherited_method_is_patched_for_the_subclass_alone_and_inherited_again() -> None:
    with CallablePatch(LoudSpeaker, "say", bracketing("<")):
        assert (Speaker().say("a"), LoudSpeaker().say("a")) == ("a!", "<a!")
    assert "say" not in vars(LoudSpeaker)


def test_a_method_of_an_instance_is_patched_for_that_instance_alone() -> None:
    speaker = Speaker("?")
    with CallablePatch(speaker, "say", bracketing("<")):
        assert (speaker.say("a"), Speaker().say("a")) == ("<a?", "a!")
    assert vars(speaker) == {"mark": "?"}


def test_static_and_class_methods_stay_such() -> None:
    stored = dict(vars(Speaker))
    with CallablePatch(Speaker, "join", bracketing("<")), CallablePatch(Speaker, "title", bracketing("<")):
        assert (Speaker.join("a", "b"), Speaker().join("a", "b")) == ("<ab", "<ab")
        assert (Speaker.title(), LoudSpeaker().title()) == ("<Speaker", "<LoudSpeaker")
    assert dict(vars(Speaker)) == stored


def test_class_methods_can_be_nested_too() -> None:
    stored = dict(vars(Speaker))
    patches = [CallablePatch(Speaker, "title", bracketing(mark)) for mark in "<("]
    for patch in patches:
        patch.install()
    assert Speaker.title() == "(<Speaker"
    for patch in patches:
        patch.remove()
    assert dict(vars(Speaker)) == stored


def test_aliases_share_one_replacement_unless_they_hold_something_else(module: SimpleNamespace) -> None:
    same, other, without = SimpleNamespace(shout=shout), SimpleNamespace(shout=print), SimpleNamespace()
    with CallablePatch(module, "shout", bracketing("<"), aliases=(same, other, without)):
        assert module.shout is same.shout
        assert module.shout("a") == "<a!"
        assert (other.shout, vars(without)) == (print, {})
    assert module.shout is same.shout is shout


def test_a_replaced_class_passes_for_the_original() -> None:
    module = SimpleNamespace(Speaker=Speaker)

    def question(original: type[Speaker], /, *args: Any) -> Speaker:
        return original(*(args or ("?",)))

    with CallablePatch(module, "Speaker", question):

        class Mine(module.Speaker):
            pass

        speaker, replaced = module.Speaker(), module.Speaker
        assert type(speaker) is Speaker
        assert speaker.mark == "?"
        assert Mine("#").mark == "#"
        assert isinstance(Speaker(), module.Speaker)
        assert issubclass(LoudSpeaker, module.Speaker)
        assert not isinstance(Speaker(), Mine)
        assert pickle.loads(pickle.dumps(speaker)).mark == "?"
    assert module.Speaker is Speaker
    assert replaced().mark == "!"


def test_torch_is_not_imported() -> None:
    code = "import sys, unvanish.monkey_patch; print({'torch', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_a_warning_of_a_patched_function_names_the_line_of_its_caller() -> None:
    owner = SimpleNamespace(warn=lambda: warnings.warn("odd", stacklevel=2))

    @skipped_by_warnings
    def wrapper(original: Callable[[], None], /) -> None:
        original()

    with pytest.warns(UserWarning, match="odd") as alone:
        owner.warn()
    with CallablePatch(owner, "warn", wrapper), pytest.warns(UserWarning, match="odd") as patched:
        owner.warn()
    assert [str(warning.filename) for warning in (*alone, *patched)] == [__file__, __file__]
    assert patched[0].lineno == alone[0].lineno + 2
