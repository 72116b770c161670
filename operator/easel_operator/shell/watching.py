"""Lists and watches by kopf, in a thread of its own; this is the only module that knows kopf.

Every event is handed over as it is. kopf's handlers of changes, its timers and daemons are not used: they would write
annotations and finalizers to everybody's objects. Nor is its peering: a Lease decides who acts.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import kopf

from easel_operator.core import labels
from easel_operator.core.resources import CHILD_KINDS, OWN_KINDS, Resource

logger = logging.getLogger(__name__)

Change = Literal["seen", "gone"]
OnChange = Callable[[Resource, Change, dict[str, Any]], None]

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class Watching:
    """Watches our kinds and their children in some namespaces until it is stopped."""

    def __init__(self, namespaces: tuple[str, ...], on_change: OnChange) -> None:
        self._namespaces, self._on_change = namespaces, on_change
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watching", daemon=True)
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether kopf runs. It ends by itself when one of its watches cannot go on."""
        return self._thread.is_alive()

    def stop(self, seconds: float = 5.0) -> None:
        """End; a watch that hangs is left to die with the process."""
        self._stop.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        try:
            kopf.run(
                registry=self._registry(),
                settings=_settings(),
                standalone=True,
                namespaces=self._namespaces,
                stop_flag=self._stop,
            )
        except Exception:
            logger.exception("watching ended")

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(_log_in)
        for resource in (*OWN_KINDS, *CHILD_KINDS):
            kopf.on.event(resource.group, resource.version, resource.plural, id=resource.plural, registry=registry)(
                self._handler(resource)
            )
        return registry

    def _handler(self, resource: Resource) -> Callable[..., Any]:
        async def hand_over(event: dict[str, Any], **_: Any) -> None:
            change: Change = "gone" if event["type"] == "DELETED" else "seen"
            self._loop.call_soon_threadsafe(self._on_change, resource, change, dict(event["object"]))

        return hand_over


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True  # namespaces and kinds are known; no right to list either is needed
    settings.peering.standalone = True
    # A watch that ends is begun anew; one that hangs is given up: load balancers drop quiet streams without a word.
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    settings.watching.connect_timeout = 30
    settings.watching.inactivity_timeout = 70
    settings.watching.chunk_size = 500
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.queueing.worker_limit = None  # a limit below the number of objects would deadlock
    for resource in CHILD_KINDS:
        settings.watching.label_selectors[resource.group, resource.version, resource.plural] = labels.SELECTOR
    return settings


async def _log_in(**context: Any) -> kopf.ConnectionInfo | None:
    if "KUBECONFIG" in os.environ or "KUBERNETES_SERVICE_HOST" not in os.environ:
        return kopf.login_with_kubeconfig(**context)
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    # By address: kopf's own way needs the cluster's DNS.
    return kopf.ConnectionInfo(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        ca_path=str(SERVICE_ACCOUNT / "ca.crt"),
        token=(SERVICE_ACCOUNT / "token").read_text().strip(),
    )
