"""A server of files on this machine that misbehaves as it is told."""

import contextlib
import io
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """What the server holds, and how it is to misbehave."""

    pages: dict[str, bytes]
    ranges: bool = True
    manner: str = "with a length"
    cut_after: int | None = None
    refuses_ranges: bool = False
    drips: bool = False
    drips_headers: bool = False
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    address: str = ""


@contextmanager
def serve(pages: dict[str, bytes]) -> Iterator[Site]:
    """Serve pages by path, on a free port."""
    site = Site(pages)
    with listening(_handler_of(site)) as site.address:
        yield site


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Let a handler answer on a free port; yield its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def _handler_of(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            site.asked.append((self.path, wanted))
            body = site.pages.get(self.path)
            if body is None:
                self.send_error(404)
                return
            if site.refuses_ranges:
                self.send_error(416)
                return
            if site.drips_headers:
                self.drip(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 60_000)
                return
            start = 0
            if wanted and site.ranges:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start and start >= len(body):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.send_body(body[start:])

        def send_body(self, body: bytes) -> None:
            self.close_connection = True
            if site.manner == "with a length":
                self.send_header("Content-Length", str(len(body)))
            if site.manner == "chunked":
                self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            sent = body[: site.cut_after]
            if site.manner == "chunked":
                end = b"0\r\n\r\n" if sent == body else b""
                sent = b"%x\r\n%b\r\n" % (len(sent), sent) + end
            if site.drips:
                self.drip(sent)
            else:
                self.wfile.write(sent)

        def drip(self, content: bytes) -> None:
            """Send a byte at a time until nobody listens any more, or for ten seconds."""
            self.close_connection = True
            with contextlib.suppress(OSError):
                for place in range(min(len(content), 1000)):
                    self.wfile.write(content[place : place + 1])
                    time.sleep(0.01)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            pass

    return Handler


def archive(members: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    """Pack files and links as a tar.gz."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as file:
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            file.addfile(member)
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return packed.getvalue()
