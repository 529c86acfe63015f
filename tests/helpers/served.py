"""The real server in a thread of the tests, and a client."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPConnection
from typing import Any, NamedTuple

from u2net_hf.engines.interface import Engine
from u2net_hf.serving.app import build_app
from u2net_hf.serving.limits import Limits
from u2net_hf.serving.server import Server, open_socket
from u2net_hf.serving.service import RemovalService

HOST = "127.0.0.1"


class Answer(NamedTuple):
    """What a server says."""

    status: int
    headers: dict[str, str]
    data: bytes

    @property
    def reason(self) -> str:
        """Why not."""
        assert self.headers["content-type"] == "application/json"
        reason = json.loads(self.data)["detail"]
        assert isinstance(reason, str)
        assert "\n" not in reason
        return reason


class Served(NamedTuple):
    """A server that runs."""

    port: int
    server: Server
    service: RemovalService

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, client: str = HOST
    ) -> Answer:
        """A request on a connection of its own, from an address of its own."""
        connection = HTTPConnection(HOST, self.port, timeout=60, source_address=(client, 0))
        with contextlib.closing(connection):
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())

    def post(self, body: Any, query: str = "", **options: Any) -> Answer:
        """Post a picture."""
        return self.ask("POST", f"/remove?{query}", body, **options)

    def health(self) -> dict[str, Any]:
        """What /health says."""
        answer = self.ask("GET", "/health")
        assert answer.status == 200
        return json.loads(answer.data)

    def wait(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so."""
        end = time.monotonic() + 300
        while not is_so():
            assert time.monotonic() < end
            time.sleep(0.01)

    def wait_for_requests(self, count: int) -> None:
        """Wait until so many are in progress."""
        self.wait(lambda: self.health()["requests"] == count)


@contextlib.contextmanager
def serving(engines: Mapping[str, Engine], limits: Limits | None = None, **options: Any) -> Iterator[Served]:
    """Serve engines at a free port."""
    limits = limits or Limits()
    service = RemovalService(engines, limits, workers=2, **options)
    server = Server(build_app(service), limits)
    with open_socket(HOST, 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        served = Served(listener.getsockname()[1], server, service)
        served.wait(lambda: server.started)
        try:
            yield served
        finally:
            server.should_exit = True
            thread.join(300)
            assert not thread.is_alive()


def form(parts: Mapping[str, bytes], boundary: str = "x1x") -> dict[str, Any]:
    """A body of pictures as a browser sends them, and its headers."""
    head = 'Content-Disposition: form-data; name="{0}"; filename="{0}.png"\r\nContent-Type: image/png\r\n\r\n'
    pieces = [f"--{boundary}\r\n{head.format(name)}".encode() + data + b"\r\n" for name, data in parts.items()]
    body = b"".join([*pieces, f"--{boundary}--\r\n".encode()])
    return {"body": body, "headers": {"Content-Type": f"multipart/form-data; boundary={boundary}"}}
