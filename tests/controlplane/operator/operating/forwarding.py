"""A TCP forwarder whose open connections can fall silent without closing, as load balancers make them."""

from __future__ import annotations

import contextlib
import socket
import threading


class Forwarder:
    """Forwards a loopback port to another."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._silenced: set[int] = set()
        self._count = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._listener.getsockname()[1]}"

    def silence(self) -> None:
        """Nothing more comes through the connections that are open now; new ones work."""
        self._silenced = set(range(self._count))

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
                number, self._count = self._count, self._count + 1
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._copy, args=(number, source, sink), daemon=True).start()

    def _copy(self, number: int, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if number not in self._silenced:
                    sink.sendall(data)
        if number not in self._silenced:
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_WR)
