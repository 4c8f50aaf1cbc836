"""An authority for the tests, and contexts of both sides with certificates of it."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Literal

import attrs
import trustme

from trionetchan import client_ssl_context, server_ssl_context


@attrs.frozen
class Authority:
    """Issues certificates into files of one directory."""

    directory: Path
    _ca: trustme.CA = attrs.field(factory=trustme.CA)

    @property
    def file(self) -> Path:
        """Its own certificate."""
        path = self.directory / "authority of the tests.pem"
        if not path.exists():
            self._ca.cert_pem.write_to_path(str(path))
        return path

    def issue(self, *names: str, common_name: str | None = None) -> Path:
        """A file with a certificate of these names and its key."""
        issued = self._ca.issue_cert(*names, common_name=common_name)
        path = self.directory / f"{len([*self.directory.iterdir()])}.pem"
        issued.private_key_and_cert_chain_pem.write_to_path(str(path))
        return path

    def server(self, *, clients: Literal["none", "required"] = "required") -> ssl.SSLContext:
        """For an exporter at localhost."""
        authority = self.file if clients == "required" else None
        return server_ssl_context(self.issue("localhost"), authority=authority)

    def client(self, *names: str, common_name: str | None = None) -> ssl.SSLContext:
        """For an importer that has a certificate of these names, or none."""
        certificate = self.issue(*names, common_name=common_name) if names or common_name else None
        return client_ssl_context(authority=self.file, certificate=certificate)
