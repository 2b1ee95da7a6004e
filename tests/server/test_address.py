from __future__ import annotations

import pytest

from wan_trt.engine.errors import InputError
from wan_trt.server.address import Address


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("127.0.0.1:50051", "127.0.0.1", 50051, True),
        ("localhost:0", "localhost", 0, True),
        ("[::1]:80", "::1", 80, True),
        ("0.0.0.0:1", "0.0.0.0", 1, False),
        ("render-07.example:50051", "render-07.example", 50051, False),
    ],
)
def test_addresses(text: str, host: str, port: int, loopback: bool) -> None:
    address = Address.parse(text, "--listen")
    assert (address.host, address.port, address.loopback) == (host, port, loopback)
    assert str(address) == text


@pytest.mark.parametrize("text", ["", "localhost", ":1", "a:b", "a:65536", "::1:80", "a:-1", "a:²"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"^--listen: .*HOST:PORT"):
        Address.parse(text, "--listen")
