"""What keeps a server's port: encryption, who may call, and where it may listen without them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wan_trt.engine.errors import InputError
from wan_trt.server.access import CheckedAccess, FailedAttempts
from wan_trt.server.access_file import read_access_file
from wan_trt.server.address import Address
from wan_trt.server.calls import Access, OpenAccess
from wan_trt.server.reloaded import Reloaded
from wan_trt.server.tls import TlsFiles


@dataclass(frozen=True)
class SecurityOptions:
    """`access` is a file of principals (access_file.py); with `tls.client_ca` alone the certificate
    of the connection says who calls; with neither everybody may do everything. `input_roots` are
    folders whose files all callers may name instead of uploading them. `insecure` lets a server
    listen beyond this machine without encryption or without asking who calls.
    `open_reflection`: whoever reaches the port may read the API's description."""

    tls: TlsFiles | None = None
    access: Path | None = None
    input_roots: tuple[Path, ...] = ()
    insecure: bool = False
    open_reflection: bool = False

    def require_safe(self, listen: Address) -> None:
        """Raises InputError for an address that others can reach, unless connections are encrypted
        and it is known who calls, or nobody minds."""
        missing = self.missing(listen)
        if missing and not self.insecure:
            raise InputError(
                f"{listen} can be reached from other machines, without {' and '.join(missing)}",
                expected="both, or an address of this machine alone such as 127.0.0.1",
                action="give them, or --insecure-listen where everybody who reaches the port may "
                "read and do everything",
                field="listen",
            )

    def missing(self, listen: Address) -> list[str]:
        """What an address should not be without; nothing for one of this machine alone."""
        if listen.loopback:
            return []
        wanted = {
            "encryption (--tls-cert, --tls-key)": self.tls is not None,
            "knowing who calls (--access or --tls-client-ca)": self._asks,
        }
        return [what for what, there in wanted.items() if not there]

    def open_access(self) -> Access:
        """Raises InputError for a file of principals that cannot be used."""
        if not self._asks:
            return OpenAccess()
        path = self.access
        listed = None if path is None else Reloaded([path], lambda: read_access_file(path))
        return CheckedAccess(listed, FailedAttempts())

    @property
    def _asks(self) -> bool:
        return self.access is not None or (self.tls is not None and self.tls.client_ca is not None)
