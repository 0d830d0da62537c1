"""The identity of what a race tries: remedies taken together, with a factor on the learning rate where there is one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """Remedies by name, in the order in which they are applied, and a factor that multiplies the learning rate besides.

    No remedies and no factor stand for the control: the script as it is. Two candidates are the same where both fields are equal.

    Example:
        >>> Candidate(("relu", "he-init")).name
        'relu + he-init'
        >>> Candidate(("learning-rate",), 0.1).name
        'learning-rate x0.1'
        >>> Candidate().is_control
        True
    """

    remedies: tuple[str, ...] = ()
    rate_factor: float | None = None

    @property
    def name(self) -> str:
        """The candidate as people write it: "relu + he-init", "learning-rate x0.1"; "" for the control."""
        return f"{' + '.join(self.remedies)} {self.rate_text}".strip()

    @property
    def rate_text(self) -> str:
        """The factor on the learning rate as people write it: "x0.1"; "" where there is none."""
        return "" if self.rate_factor is None else f"x{self.rate_factor:g}"

    @property
    def is_control(self) -> bool:
        """Whether this is the script as it is."""
        return not self.remedies and self.rate_factor is None


CONTROL = Candidate()
