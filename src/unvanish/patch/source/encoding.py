"""Python source between bytes and text. Line endings stay as they are, which Python's own readers do not promise."""

from __future__ import annotations

import io
import tokenize

from unvanish.errors import ScriptError


def decoded(data: bytes, *, file: str) -> str:
    """The text of a source file, in the encoding that it declares; a byte order mark is dropped.

    Raises ScriptError where the bytes are not in that encoding.
    """
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        return data.decode(encoding)
    except (SyntaxError, UnicodeDecodeError) as fault:
        raise ScriptError(f"{file} cannot be read as Python source ({fault}); save it as UTF-8") from fault


def encoded(text: str, *, like: bytes) -> bytes:
    """The bytes of an edited source file, in the encoding of the bytes that it had, with their byte order mark."""
    encoding, _ = tokenize.detect_encoding(io.BytesIO(like).readline)
    return text.encode(encoding)
