"""Certificates for the demo: an authority that lives as long as a directory, and what it issues. For trying only."""

from __future__ import annotations

import ssl
from pathlib import Path

import attrs

from .. import client_ssl_context, server_ssl_context

__all__ = ["EXPORTER", "WORKER", "Certificates"]

EXPORTER = "exporter.demo"
WORKER = "worker.demo"


@attrs.frozen
class Certificates:
    """Of one demo: files in a directory that only this user may read."""

    directory: Path

    def make(self) -> None:
        """Makes the authority, and issues a certificate to each side. The authority's key is forgotten."""
        import trustme  # here, since a worker has no use for it, and it takes a while

        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self._authority))
        for name in EXPORTER, WORKER:
            authority.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(str(self._of(name)))

    def for_exporter(self) -> ssl.SSLContext:
        """Asks importers for a certificate of the authority."""
        return server_ssl_context(self._of(EXPORTER), authority=self._authority)

    def for_worker(self) -> ssl.SSLContext:
        """Shows the worker's, and expects the exporter's."""
        return client_ssl_context(authority=self._authority, certificate=self._of(WORKER))

    @property
    def _authority(self) -> Path:
        return self.directory / "authority.pem"

    def _of(self, name: str) -> Path:
        return self.directory / f"{name}.pem"
