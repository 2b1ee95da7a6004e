"""The options of `wan-trt serve` that say who may call, and how connections are kept."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from wan_trt.engine.errors import InputError

if TYPE_CHECKING:
    from wan_trt.server.security import SecurityOptions


def add_security_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "security", "see docs/security.md; files are read again when they change"
    )
    group.add_argument(
        "--tls-cert",
        metavar="FILE",
        type=Path,
        help="encrypt connections with this certificate and those that vouch for it (PEM)",
    )
    group.add_argument(
        "--tls-key", metavar="FILE", type=Path, help="the private key of --tls-cert (PEM)"
    )
    group.add_argument(
        "--tls-client-ca",
        metavar="FILE",
        type=Path,
        help="take only connections with a certificate of these authorities (PEM); its name says "
        "who calls",
    )
    group.add_argument(
        "--access",
        metavar="FILE",
        type=Path,
        help="who may call: principals with their tokens, rights and quotas (TOML; `wan-trt token` "
        "makes entries)",
    )
    group.add_argument(
        "--input-root",
        dest="input_roots",
        metavar="DIR",
        type=Path,
        action="append",
        default=[],
        help="let callers name files in this folder, as file:/DIR/NAME, instead of uploading them; "
        "may be repeated (default: none)",
    )
    group.add_argument(
        "--open-reflection",
        action="store_true",
        help="describe the API also to callers who are not let in",
    )
    group.add_argument(
        "--insecure-listen",
        action="store_true",
        help="listen beyond this machine also without TLS, or without knowing who calls: everybody "
        "who reaches the port may then read and do everything",
    )


def security_options(arguments: argparse.Namespace) -> SecurityOptions:
    """Raises InputError for options that do not fit together."""
    from wan_trt.server.security import SecurityOptions
    from wan_trt.server.tls import TlsFiles

    certificate, key = arguments.tls_cert, arguments.tls_key
    if (certificate is None) != (key is None):
        raise InputError(
            "missing",
            expected="--tls-cert and --tls-key",
            field="tls_key" if certificate else "tls_cert",
        )
    if certificate is None and arguments.tls_client_ca is not None:
        raise InputError(
            "without --tls-cert", expected="--tls-cert and --tls-key too", field="tls_client_ca"
        )
    return SecurityOptions(
        tls=None if certificate is None else TlsFiles(certificate, key, arguments.tls_client_ca),
        access=arguments.access,
        insecure=arguments.insecure_listen,
        open_reflection=arguments.open_reflection,
    )
