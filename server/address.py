"""HOST:PORT, as --listen and --server take it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from wan_trt.engine.errors import InputError

DEFAULT_ADDRESS = "127.0.0.1:50051"


@dataclass(frozen=True)
class Address:
    """A host name or address (IPv6 without its brackets) and a port; 0 means any free one."""

    host: str
    port: int

    @staticmethod
    def parse(text: str, field: str) -> Address:
        """Raises InputError; `field` names the option at fault."""
        host, colon, port = text.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        right = colon and host and port.isascii() and port.isdigit() and int(port) < 65536
        if not right or (":" in host and not bracketed):
            raise InputError(
                f"address {text!r}",
                expected="HOST:PORT",
                action=f"give one such as {DEFAULT_ADDRESS}",
                field=field,
            )
        return Address(host[1:-1] if bracketed else host, int(port))

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"
