"""Contexts for TLS that are strict where it matters: version 1.3 only, and both sides' certificates are checked.

Any `ssl.SSLContext` will do instead; these save a program that has no wishes of its own from writing security code.
"""

from __future__ import annotations

import os
import ssl

__all__ = ["client_ssl_context", "server_ssl_context"]

Path = str | os.PathLike[str]


def server_ssl_context(certificate: Path, key: Path | None = None, *, authority: Path | None = None) -> ssl.SSLContext:
    """For `serve_tcp` and `serve_websocket`.

    `certificate` is a PEM file with the exporter's certificate and those of the authorities between it and the root;
    `key` one with its private key, without a password, unless that is in the same file. With an `authority`, a PEM
    file, every importer must have a certificate of that authority: this is mutual TLS, and goes with
    `allow_certificates`.

    `OSError` or `ssl.SSLError` for files that cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate, key)
    if authority is not None:
        context.load_verify_locations(authority)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_ssl_context(
    *, authority: Path | None = None, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """For `open_tcp_importer` and `open_websocket_importer`.

    The exporter's certificate must be of the `authority`, a PEM file, or of one that this system trusts if there is
    none. `certificate` and `key`: this importer's own, for an exporter that asks for one; PEM files as in
    `server_ssl_context`.

    `OSError` or `ssl.SSLError` for files that cannot be read, `ValueError` for a key without its certificate.
    """
    if key is not None and certificate is None:
        raise ValueError("key: expected a certificate beside it, got none")
    context = ssl.create_default_context(cafile=authority)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context
