"""Decodes Python source files to text and back; unlike with Python's own readers, line endings stay as they are."""

from __future__ import annotations

import io
import tokenize

from unvanish.errors import ScriptError


def decode_source(data: bytes, *, file: str) -> str:
    """The text of a source file, in the encoding that it declares; a byte order mark is removed.

    Raises ScriptError, which names `file`, where the bytes are not in that encoding.

    Example:
        >>> decode_source(b"# coding: latin-1\\nname = '\\xe9'\\n", file="train.py")
        "# coding: latin-1\\nname = 'é'\\n"
    """
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        return data.decode(encoding)
    except (SyntaxError, UnicodeDecodeError) as fault:
        raise ScriptError(f"{file} cannot be read as Python source ({fault}); save it as UTF-8") from fault


def encode_source(text: str, *, like: bytes) -> bytes:
    """The bytes of an edited source file, in the encoding and with the byte order mark of the bytes `like` that it had before."""
    encoding, _ = tokenize.detect_encoding(io.BytesIO(like).readline)
    return text.encode(encoding)
