"""What the page on security says to do, done: an authority made with OpenSSL, and a certificate that is renewed."""

from __future__ import annotations

import re
import shutil
import ssl
from pathlib import Path

import pytest
import trio
from authority import Authority
from support import child_environment, serve_tcp

from trionetchan import allow_certificates, client_ssl_context, open_exporter, open_tcp_importer, server_ssl_context

PAGE = Path(__file__).parents[2] / "docs" / "security.md"


async def shown_to(port: int, context: ssl.SSLContext) -> bytes:
    """The certificate that is served there."""
    stream = await trio.open_ssl_over_tcp_stream("localhost", port, ssl_context=context)
    async with stream:
        await stream.do_handshake()
        encoded: bytes = stream.getpeercert(binary_form=True)
        return encoded


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl here")
async def test_an_authority_made_with_openssl(nursery: trio.Nursery, tmp_path: Path) -> None:
    (recipe,) = [block for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL) if "-CAkey" in block]
    with child_environment() as env:
        await trio.run_process(["sh", "-e", "-c", recipe], cwd=tmp_path, env=env, capture_stderr=True)
    exporters = Authority(tmp_path)
    async with open_exporter(authenticate=allow_certificates("*.workers.example")) as exporter:
        context = server_ssl_context(exporters.issue("localhost"), authority=tmp_path / "authority.pem")
        port = await serve_tcp(nursery, exporter, ssl_context=context)
        mine = client_ssl_context(authority=exporters.file, certificate=tmp_path / "one.pem", key=tmp_path / "one.key")
        async with open_tcp_importer("localhost", port, ssl_context=mine) as importer:
            jobs = exporter.open_send_channel("jobs", int)
            async with jobs, await importer.open_receive_channel("jobs", int):
                assert exporter.statistics().principals == {"one.workers.example": 1}


async def test_a_certificate_is_renewed_while_it_is_served(nursery: trio.Nursery, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with open_exporter() as exporter:
        context = authority.server(clients="none")
        port = await serve_tcp(nursery, exporter, ssl_context=context)
        async with open_tcp_importer("localhost", port, ssl_context=authority.client()) as importer:
            jobs = exporter.open_send_channel("jobs", int)
            async with await importer.open_receive_channel("jobs", int) as received:
                before = await shown_to(port, authority.client())
                context.load_cert_chain(authority.issue("localhost"))
                assert await shown_to(port, authority.client()) != before
                await jobs.send(1)
                assert await received.receive() == 1
            jobs.close()


def test_a_key_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="key: expected a certificate beside it"):
        client_ssl_context(key=tmp_path / "key.pem")
