"""The user's source and a change in, edited source out. Pure text: it never runs the source and never touches the disk."""

from unvanish.patch.apply_line import suggestion, with_apply
from unvanish.patch.difference import unified
from unvanish.patch.encoding import decoded
from unvanish.patch.own_lines import before_optimizer, behind_optimizer, with_rate_scaled

__all__ = ["before_optimizer", "behind_optimizer", "decoded", "suggestion", "unified", "with_apply", "with_rate_scaled"]
