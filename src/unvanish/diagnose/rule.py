"""The contract of a rule: one named problem, seen in the record alone, said with its evidence."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from unvanish.diagnose.run_view import RunView
from unvanish.record.finding import Finding


class Rule(ABC):
    """One problem. The docstring of a final class is its card: what it is, then the paragraphs "Sees:", "Why it matters:",
    "Known problems:", "Example:" and "References:".

    `code` is the public name, which never changes its meaning. `explains` are the codes that become symptoms of this one
    when both are found. `rank` orders the findings that explain each other nowhere: the lower, the nearer to the root.
    `last_resort` is for what is concluded from the absence of anything else: where another loud finding does not explain it, it is
    withdrawn.
    """

    code: ClassVar[str]
    rank: ClassVar[int]
    explains: ClassVar[frozenset[str]] = frozenset()
    last_resort: ClassVar[bool] = False

    @abstractmethod
    def examine(self, chart: RunView) -> Iterator[Finding]:
        """The findings that the record shows, most severe first; nothing where the problem is absent."""
