"""Changes a setting of a framework's trainer, where the framework takes the steps: what a user of it would write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import libcst as cst

from unvanish.patch.edits.numbers import format_number, scale_numbers, set_number
from unvanish.patch.source.arguments import change_arguments
from unvanish.patch.source.parsed_file import Project, SourceFile, find_argument, has_star_arguments, literal_number
from unvanish.patch.text_replacements import Draft, NotExpressible

_MODULES = {"lightning": ("lightning.", "pytorch_lightning."), "transformers": ("transformers.",), "skorch": ("skorch.",)}


@dataclass(frozen=True, slots=True)
class TrainerSetting:
    """An argument of a class of a framework, and its default: ("lightning", "Trainer", "gradient_clip_val")."""

    framework: str
    class_name: str
    argument: str
    default: float = 0.0


_RATES = (
    TrainerSetting("transformers", "TrainingArguments", "learning_rate", 5e-5),
    TrainerSetting("skorch", "NeuralNet", "lr", 0.01),
    TrainerSetting("skorch", "NeuralNetClassifier", "lr", 0.01),
    TrainerSetting("skorch", "NeuralNetBinaryClassifier", "lr", 0.01),
    TrainerSetting("skorch", "NeuralNetRegressor", "lr", 0.01),
)


def scale_rate_in_trainer(draft: Draft, project: Project, factor: float) -> bool:
    """Whether the learning rate is that of a trainer which the project builds; it is multiplied then.

    Raises NotExpressible as `set_in_trainer`.
    """
    places = _calls_of(project, _RATES)
    if len(places) != 1:
        return False
    ((source, call, setting),) = places
    arg = find_argument(call, setting.argument)
    if arg is not None:
        scale_numbers(draft, project, [(source, arg.value)], factor)
        return True
    return set_in_trainer(draft, project, (setting,), float(f"{setting.default * factor:.3g}"))


def set_in_trainer(draft: Draft, project: Project, settings: Sequence[TrainerSetting], value: float) -> bool:
    """Whether one of the settings belongs to a trainer that the project builds; it has that value then.

    Raises NotExpressible where several trainers are built, or one takes arguments that are not written out.
    """
    places = _calls_of(project, settings)
    if not places:
        return False
    if len(places) > 1:
        raise NotExpressible("several trainers are built")
    ((source, call, setting),) = places
    arg, text = find_argument(call, setting.argument), str(value) if isinstance(value, int) else format_number(value)
    if arg is not None and literal_number(arg.value) is not None:
        draft.replace(source, source.start(arg.value), source.end(arg.value), text)
    elif arg is not None:
        set_number(draft, project, source, arg.value, value)
    elif arg is None and has_star_arguments(call):
        raise NotExpressible(f"line {source.line(call)} passes arguments that are not written out")
    elif arg is None and call.args:
        change_arguments(draft, source, call, add=[f"{setting.argument}={text}"])
    elif arg is None:
        offset = source.end(call) - 1
        draft.replace(source, offset, offset, f"{setting.argument}={text}")
    return True


def _calls_of(project: Project, settings: Sequence[TrainerSetting]) -> list[tuple[SourceFile, cst.Call, TrainerSetting]]:
    """The calls that build the classes of some settings."""
    return [
        (source, call, setting)
        for source in project.opened_files()
        for call in source.calls
        for setting in settings
        if (name := source.qualified_name(call.func)).startswith(_MODULES[setting.framework])
        and name.endswith(f".{setting.class_name}")
    ]
