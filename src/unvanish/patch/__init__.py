"""The user's source and a change in, edited source out. Pure text: it never runs the source and never touches the disk."""

from unvanish.patch.apply_line import suggestion, with_apply
from unvanish.patch.encoding import decoded

__all__ = ["decoded", "suggestion", "with_apply"]
