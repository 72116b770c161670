"""The operator's process: everything put together, started in order and stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from datetime import UTC, datetime
from typing import Any

from easel_api.validation import spec_problems
from easel_inference.catalog.merging import offer_of
from easel_operator.adapters.kube.cluster import KubeCluster
from easel_operator.adapters.kube.leases import KubeLeases
from easel_operator.adapters.kube.transport import Transport
from easel_operator.adapters.kube.watching import Change, watch
from easel_operator.adapters.metrics import PrometheusMetrics
from easel_operator.adapters.prometheus import HttpPrometheus
from easel_operator.adapters.runtime import HttpRuntime
from easel_operator.core.admission import AdmissionQueue
from easel_operator.core.configuration import Configuration
from easel_operator.core.decision import Decision
from easel_operator.core.parsing import slots_of
from easel_operator.core.resources import GENERATION_JOBS, MODEL_DEPLOYMENTS, OWN_KINDS, PODS, PROVIDERS, Key, Resource

from .audit import Audit
from .cache import Cache
from .demands import Demands
from .health import Health
from .leadership import Leadership
from .loop import Loop
from .measuring import Measuring
from .observing import Observer
from .probing import Prober
from .workqueue import WorkQueue

logger = logging.getLogger(__name__)

TICK_SECONDS = 1.0
NOT_COMPLETE = "the first lists are not complete"
SYNC_SECONDS = 120.0
"""How long the first lists may take before the process counts as unhealthy."""


class Operator:
    """One process; `run` returns when it was asked to stop, and raises when it cannot go on."""

    def __init__(self, configuration: Configuration, transport: Transport, metrics: PrometheusMetrics) -> None:
        identity = f"{os.environ.get('POD_NAME') or socket.gethostname()}_{os.getpid()}_{os.urandom(4).hex()}"
        times = configuration.lease_times
        self._configuration, self._metrics, self._transport = configuration, metrics, transport
        self._cluster, self._runtime = (
            KubeCluster(transport, identity[:128]),
            HttpRuntime(configuration.runtime_http_port),
        )
        self._prometheus = HttpPrometheus(configuration.prometheus_url)
        self._cache, self._prober, self._demands = Cache(), Prober(self._runtime), Demands(metrics)
        self._admissions = AdmissionQueue(configuration.admission)
        leases = KubeLeases(transport, configuration.lease_namespace, configuration.lease_name, times.retry * 2)
        self._leadership = Leadership(leases, identity, times, self._on_leadership)
        namespaces = configuration.namespaces
        self._audit = Audit(
            self._cache,
            self._cluster,
            namespaces,
            configuration.watch_times,
            metrics,
            sharing=configuration.providers_across_namespaces,
        )
        loop = Loop(
            self._cache,
            Observer(
                self._cache,
                self._demands,
                self._admissions,
                self._prober,
                self._cluster,
                lambda spec: map(str, spec_problems(spec)),
                offer_of,
                configuration,
            ),
            self._cluster,
            metrics,
            configuration,
            self._on_decision,
            leads=self._leadership.leads,
            clock=_now,
        )
        self._queue = WorkQueue(loop.reconcile, configuration.concurrency, metrics.queue_depth)
        self._measuring = Measuring(self._prometheus, self._demands, self._queue.add)
        self._health = Health(self._unhealthy, self._unready)
        self._started = self._resynced = time.monotonic()
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Watch, lead, reconcile, until SIGTERM or SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)
        await self._health.start(self._configuration.health_port)
        try:
            await self._until_stopped(self._await_kinds())
            if not self._stop.is_set():
                await self._operate()
        finally:
            await self._health.stop()
            await self._runtime.close()
            await self._prometheus.close()

    async def _operate(self) -> None:
        namespaces, synced = self._configuration.namespaces, self._audit.synced
        sharing = self._configuration.providers_across_namespaces
        watching = watch(self._transport, namespaces, self._cache.raws, self._on_event, synced.set, sharing=sharing)
        reconciling = asyncio.create_task(self._reconcile(), name="reconciling")
        try:
            await self._until_stopped(
                watching,
                self._audit.run(),
                self._leadership.run(),
                self._tick(),
                self._measuring.run(),
                others=(reconciling,),
            )
        finally:
            await self._queue.stop()
            if not self._audit.synced.is_set():
                reconciling.cancel()
            with contextlib.suppress(TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(reconciling, 10)
            await self._leadership.release()
            logger.info("stopped")

    async def _until_stopped(self, *works: Any, others: tuple[asyncio.Task[Any], ...] = ()) -> None:
        """Until one of these ends or fails, or a signal comes."""
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        tasks = [asyncio.create_task(work) for work in works]
        done, _ = await asyncio.wait([stop, *tasks, *others], return_when=asyncio.FIRST_COMPLETED)
        for task in (stop, *tasks):
            task.cancel()
        await asyncio.gather(stop, *tasks, return_exceptions=True)
        for task in done:
            task.result()

    async def _await_kinds(self) -> None:
        """Helm may start the operator before its kinds are served."""
        for resource in OWN_KINDS:
            while not await self._cluster.serves(resource):
                logger.info("waits for the CRD of %s", resource.kind)
                await asyncio.sleep(TICK_SECONDS)

    async def _reconcile(self) -> None:
        await self._audit.synced.wait()
        logger.info("has seen everything")
        self._take_stock()
        await self._queue.run()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            if not self._audit.synced.is_set():
                continue  # numbers that grow with the first lists would look like news
            since = self._cache.waiting_since()
            wait = 0.0 if since is None else max(0.0, (_now() - since).total_seconds())
            self._metrics.jobs(self._cache.phases(), wait)
            self._metrics.queued(self._admissions.waiting())
            if time.monotonic() - self._resynced > self._configuration.watch_times.resync_interval:
                self._resync()

    def _resync(self) -> None:
        self._resynced = time.monotonic()
        for key in self._cache.own():
            self._queue.add(key)

    def _take_stock(self) -> None:
        """Until every job was looked at nobody knows what work there is, nor who may begin."""
        jobs = [key for key in self._cache.own() if self._leadership.led and key.resource == GENERATION_JOBS]
        self._demands.clear(jobs)
        self._admissions.clear(jobs)
        for key in self._cache.own():
            if key.resource == MODEL_DEPLOYMENTS:
                self._let_in(key, self._cache.get(key.resource, key.namespace, key.name))

    def _on_decision(self, key: Key, decision: Decision | None) -> bool:
        if not self._leadership.led:
            return False
        if key.resource == MODEL_DEPLOYMENTS:
            if decision is None:
                self._demands.gone(key)
            elif self._demands.scaled(key, decision.scaled):
                self._measuring.ask_soon()
            return False
        if key.resource == PROVIDERS:
            if decision and decision.spending:
                self._metrics.spending(key, decision.spending)
            else:
                self._metrics.closed(key)
            return False
        if model := self._demands.put(key, decision.work) if decision else self._demands.ended(key):
            self._queue.add(model)
        before = self._admissions.turn(key)
        for job in self._admissions.put(key, decision.seat if decision else None, _now()) - {key}:
            self._queue.add(job)
        return self._admissions.turn(key) != before

    def _let_in(self, model: Key, raw: dict[str, Any] | None) -> None:
        """As many jobs work with a model as its replicas take."""
        for job in self._admissions.slots(model, slots_of(raw) if raw else 0, _now()):
            self._queue.add(job)

    def _on_leadership(self, leads: bool) -> None:  # noqa: FBT001 - a callback's one argument
        self._metrics.leading(leads=leads)
        self._take_stock()
        if leads:
            self._resync()

    def _on_event(self, resource: Resource, change: Change, raw: dict[str, Any]) -> None:
        self._metrics.watched(resource.plural)
        if change == "gone":
            self._cache.remove(resource, raw)
            if resource == PODS:
                self._prober.forget(raw["metadata"]["uid"])
        else:
            self._cache.put(resource, raw)
        if resource == MODEL_DEPLOYMENTS:
            model = Key(resource.kind, raw["metadata"]["namespace"], raw["metadata"]["name"])
            self._let_in(model, None if change == "gone" else raw)
        if self._leadership.led:
            for key in self._cache.affected(resource, raw):
                self._queue.add(key)

    def _unhealthy(self) -> str | None:
        if self._audit.stale:
            return f"stale watches: {', '.join(sorted(self._audit.stale))}"
        late = not self._audit.synced.is_set() and time.monotonic() - self._started > SYNC_SECONDS
        return NOT_COMPLETE if late else None

    def _unready(self) -> str | None:
        return self._unhealthy() or (None if self._audit.synced.is_set() else NOT_COMPLETE)


def _now() -> datetime:
    return datetime.now(UTC)
