"""Python source is decoded and encoded as it declares, and keeps its line endings."""

from __future__ import annotations

import pytest

from unvanish.errors import ScriptError
from unvanish.patch import decode_source, encode_source


@pytest.mark.parametrize(
    "data",
    ["# coding: latin-1\r\ns = 'é'\r\n".encode("latin-1"), b"\xef\xbb\xbfa = 1\n", "s = 'é'\n".encode()],
    ids=["declared", "bom", "plain"],
)
def test_source_is_decoded_and_encoded_as_it_declares(data: bytes) -> None:
    text = decode_source(data, file="a.py")
    assert text.encode("latin-1") == data.removeprefix(b"\xef\xbb\xbf") or text.encode() == data
    assert encode_source(text, like=data) == data


def test_source_in_another_encoding_than_it_declares_is_refused() -> None:
    with pytest.raises(ScriptError, match=r"a\.py.*UTF-8"):
        decode_source("s = 'é'\n".encode("latin-1"), file="a.py")
