"""TLS of a server, from files that may change while it runs."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from wan_trt.engine.errors import InputError
from wan_trt.server.reloaded import Reloaded

WARN_AHEAD_S = 30 * 86_400.0
_WARN_EVERY_S = 86_400.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TlsFiles:
    """PEM files: the certificate with those that vouch for it, its key, and the authorities whose
    clients are let in; without these, clients show no certificate."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(path for path in (self.certificate, self.key, self.client_ca) if path)


@dataclass(frozen=True)
class _Content:
    configuration: grpc.ServerCertificateConfiguration
    expires: datetime


class ServerTls:
    """Connections that are made after the files have changed get what they say then; those that
    are there go on."""

    def __init__(self, files: TlsFiles) -> None:
        """Raises InputError for files that cannot be used."""
        self._files = files
        self._content = Reloaded(files.paths, lambda: _read(files))
        self._in_use = self._content.current
        self._warned: float | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """With a client CA every connection needs a certificate, also one that asks for health."""
        fetch: Any = self._fetch  # may return None, which its stubs do not know
        return grpc.dynamic_ssl_server_credentials(
            self._in_use.configuration,
            fetch,
            require_client_authentication=self._files.client_ca is not None,
        )

    @property
    def expires(self) -> datetime:
        """When the first of the certificates in use ends, the authorities' among them."""
        return self._content.current.expires

    def warn_of_expiry(self) -> None:
        """Tell the log, once a day, from WARN_AHEAD_S before."""
        left_s = (self.expires - datetime.now(UTC)).total_seconds()
        now = time.monotonic()
        if left_s > WARN_AHEAD_S or (self._warned and now - self._warned < _WARN_EVERY_S):
            return
        self._warned = now
        _log.warning(
            "a TLS certificate in %s %s on %s; put a new one there, no restart is needed",
            ", ".join(map(str, self._files.paths)),
            "ends" if left_s > 0 else "ended",
            f"{self.expires:%Y-%m-%d %H:%M} UTC",
        )

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Called by gRPC for each new connection; None for no change."""
        content = self._content.current
        if content is self._in_use:
            return None
        self._in_use = content
        return content.configuration


def _read(files: TlsFiles) -> _Content:
    """Raises InputError where the pieces cannot be read, have ended, or do not belong together."""
    chain, chain_pem = _certificates(files.certificate, "tls_cert")
    key_pem = _bytes(files.key, "tls_key")
    try:
        key = load_pem_private_key(key_pem, None)
    except (ValueError, TypeError) as error:
        given = f"is no private key ({error})"
        raise _wrong(files.key, given, "PEM without a password", "tls_key") from None
    if key.public_key() != chain[0].public_key():
        expected = f"the key of {files.certificate}"
        raise _wrong(files.key, "is another certificate's key", expected, "tls_key")
    authorities: list[x509.Certificate] = []
    authorities_pem = None
    if files.client_ca is not None:
        authorities, authorities_pem = _certificates(files.client_ca, "tls_client_ca")
    configuration = grpc.ssl_server_certificate_configuration(
        [(key_pem, chain_pem)], authorities_pem
    )
    expires = min(certificate.not_valid_after_utc for certificate in (*chain, *authorities))
    return _Content(configuration, expires)


def _certificates(path: Path, field: str) -> tuple[list[x509.Certificate], bytes]:
    """At least one, the first valid today."""
    content = _bytes(path, field)
    try:
        certificates = x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise _wrong(path, f"has no certificates ({error})", "PEM", field) from None
    first, now = certificates[0], datetime.now(UTC)
    if not first.not_valid_before_utc <= now < first.not_valid_after_utc:
        span = f"{first.not_valid_before_utc:%Y-%m-%d} to {first.not_valid_after_utc:%Y-%m-%d}"
        raise _wrong(path, f"is valid from {span}", "a certificate that is valid now", field)
    return certificates, content


def _bytes(path: Path, field: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _wrong(path, f"cannot be read ({error.strerror})", "a PEM file", field) from None


def _wrong(path: Path, given: str, expected: str, field: str) -> InputError:
    return InputError(f"{path} {given}", expected=expected, action="check the file", field=field)
