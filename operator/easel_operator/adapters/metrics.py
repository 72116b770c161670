"""Prometheus metrics about the operator itself. Every metric is declared here, with its labels' closed sets."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping
from decimal import Decimal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import start_http_server

from easel_api.generationjob import Phase
from easel_operator.core.provider.spending import Spending
from easel_operator.core.resources import Key
from easel_operator.core.scaling.policy import Work
from easel_operator.ports.metrics import Result


class PrometheusMetrics:
    """Implements `ports.metrics.Metrics`; `namespace` with `deployment` names models, with `provider` Providers, `consumer` is a namespace whose jobs pay one, and `kind`, `result`, `action`, `resource` and `phase` are closed sets."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._reconciles = Counter(
            "easel_operator_reconciles", "Reconciles by outcome.", ["kind", "result"], registry=self.registry
        )
        self._seconds = Histogram(
            "easel_operator_reconcile_seconds", "Duration of a reconcile.", ["kind"], registry=self.registry
        )
        self._actions = Counter(
            "easel_operator_actions", "Writes to the API server.", ["kind", "action"], registry=self.registry
        )
        self._depth = Gauge("easel_operator_queue_depth", "Objects that wait for a reconcile.", registry=self.registry)
        self._idle = Gauge(
            "easel_operator_seconds_since_watch_event",
            "Seconds since a watch delivered an event.",
            ["resource"],
            registry=self.registry,
        )
        self._stale = Gauge(
            "easel_operator_watch_missed_changes",
            "Changes listed by the API server that a watch did not deliver.",
            ["resource"],
            registry=self.registry,
        )
        self._leader = Gauge("easel_operator_leader", "1 while this process leads.", registry=self.registry)
        self._told: set[str] = set()
        self._queued = Gauge(
            "easel_queued_jobs",
            "GenerationJobs that wait for their turn though their model serves.",
            ["namespace"],
            registry=self.registry,
        )
        self._jobs = Gauge("easel_jobs", "GenerationJobs by phase.", ["phase"], registry=self.registry)
        self._wait = Gauge(
            "easel_job_longest_wait_seconds",
            "Age of the oldest GenerationJob that has not begun.",
            registry=self.registry,
        )

        of_model = ["namespace", "deployment"]
        self._items = Gauge(
            "easel_backlog_items", "Queued and running items of a model.", of_model, registry=self.registry
        )
        self._backlog = Gauge(
            "easel_backlog_gpu_seconds",
            "GPU-seconds of queued and running work of a model.",
            of_model,
            registry=self.registry,
        )
        self._requested = Counter(
            "easel_requested_gpu_seconds",
            "GPU-seconds of the work that came in for a model.",
            of_model,
            registry=self.registry,
        )
        self._replicas = Gauge(
            "easel_scaling_replicas", "Replicas that a model was given.", of_model, registry=self.registry
        )
        self._ready = Gauge(
            "easel_scaling_ready_replicas", "Replicas of a model that serve.", of_model, registry=self.registry
        )
        self._active = Gauge(
            "easel_scaling_active",
            "1 while the demand of a model is known, 0 while its number of replicas is frozen.",
            of_model,
            registry=self.registry,
        )

        of_provider = ["namespace", "provider"]
        of_window = [*of_provider, "window"]
        self._spent = Gauge(
            "easel_provider_spend_dollars",
            "What a Provider was paid in this day or month of UTC.",
            of_window,
            registry=self.registry,
        )
        self._spent_by = Gauge(
            "easel_provider_namespace_spend_dollars",
            "What a Provider was paid of that by the jobs of one namespace.",
            [*of_provider, "consumer", "window"],
            registry=self.registry,
        )
        self._consumers: dict[Key, set[str]] = {}
        self._limit = Gauge(
            "easel_provider_spend_limit_dollars",
            "What a Provider may be paid in a day or month, where it has a limit.",
            of_window,
            registry=self.registry,
        )
        self._reserved = Gauge(
            "easel_provider_reserved_dollars",
            "What jobs may be about to pay a Provider for calls that are under way.",
            of_provider,
            registry=self.registry,
        )
        self._least = Gauge(
            "easel_provider_least_price_dollars",
            "What a result of a Provider costs at least, of those whose price is known before the call.",
            of_provider,
            registry=self.registry,
        )
        self._accounts = Gauge(
            "easel_provider_jobs", "Jobs whose account at a Provider is open.", of_provider, registry=self.registry
        )

    def serve(self, port: int) -> int:
        """Serve `/metrics` from a thread of its own; the port, which is chosen when 0 is asked for."""
        server, _ = start_http_server(port, registry=self.registry)
        return int(server.server_port)

    def reconciled(self, kind: str, result: Result, seconds: float) -> None:
        """A reconcile ended."""
        self._reconciles.labels(kind, result).inc()
        self._seconds.labels(kind).observe(seconds)

    def acted(self, kind: str, action: str) -> None:
        """An action was carried out."""
        self._actions.labels(kind, action).inc()

    def queue_depth(self, depth: int) -> None:
        """Keys that wait."""
        self._depth.set(depth)

    def watched(self, plural: str) -> None:
        """A watch delivered an event."""
        moment = time.monotonic()
        self._idle.labels(plural).set_function(lambda: time.monotonic() - moment)

    def stale(self, plural: str, missed: int) -> None:
        """An audit found so many undelivered changes."""
        self._stale.labels(plural).set(missed)

    def leading(self, *, leads: bool) -> None:
        """Whether this process leads."""
        self._leader.set(int(leads))

    def work(self, model: Key, work: Work, requested: float) -> None:
        """What jobs ask of a model; its GPU-seconds are not there while nobody knows them."""
        labels = (model.namespace, model.name)
        self._items.labels(*labels).set(work.items)
        self._requested.labels(*labels).inc(requested)
        if work.gpu_seconds is None:
            _drop(self._backlog, labels)
        else:
            self._backlog.labels(*labels).set(work.gpu_seconds)

    def scaled(self, model: Key, replicas: int, ready: int, *, active: bool) -> None:
        """How many replicas a model was given, how many of them serve, and whether its demand is known."""
        self._ready.labels(model.namespace, model.name).set(ready)
        self._replicas.labels(model.namespace, model.name).set(replicas)
        self._active.labels(model.namespace, model.name).set(int(active))

    def unscaled(self, model: Key) -> None:
        """A model is scaled by nobody any more."""
        for metric in (self._replicas, self._ready, self._active):
            _drop(metric, (model.namespace, model.name))

    def forget(self, model: Key) -> None:
        """A model is not ours any more."""
        self.unscaled(model)
        for metric in (self._items, self._backlog, self._requested):
            _drop(metric, (model.namespace, model.name))

    def spending(self, provider: Key, spending: Spending) -> None:
        """What a Provider's ledger says; a limit or a price that there is no more is not told."""
        labels = (provider.namespace, provider.name)
        for name, window in (("day", spending.day), ("month", spending.month)):
            _tell(self._spent, (*labels, name), window.spent)
            _tell(self._limit, (*labels, name), window.limit)
        self._left(provider, self._consumers.get(provider, set()) - set(spending.namespaces))
        for consumer, (day, month) in spending.namespaces.items():
            _tell(self._spent_by, (*labels, consumer, "day"), day)
            _tell(self._spent_by, (*labels, consumer, "month"), month)
        self._consumers[provider] = set(spending.namespaces)
        _tell(self._reserved, labels, spending.reserved)
        _tell(self._least, labels, spending.least_price)
        _tell(self._accounts, labels, spending.jobs)

    def closed(self, provider: Key) -> None:
        """A Provider is gone."""
        labels = (provider.namespace, provider.name)
        for metric in (self._spent, self._limit):
            for name in ("day", "month"):
                _drop(metric, (*labels, name))
        for metric in (self._reserved, self._least, self._accounts):
            _drop(metric, labels)
        self._left(provider, self._consumers.pop(provider, set()))

    def _left(self, provider: Key, consumers: Iterable[str]) -> None:
        """Namespaces that have no row in a Provider's ledger any more."""
        for consumer in consumers:
            for name in ("day", "month"):
                _drop(self._spent_by, (provider.namespace, provider.name, consumer, name))

    def jobs(self, phases: Mapping[str, int], longest_wait: float) -> None:
        """GenerationJobs by phase; a phase that nobody is in reads zero, and so does the wait when nobody waits."""
        self._wait.set(longest_wait)
        for phase in Phase:
            self._jobs.labels(phase.value).set(phases.get(phase.value, 0))

    def queued(self, namespaces: Mapping[str, int]) -> None:
        """A namespace that was told of once reads zero when none waits."""
        for namespace in self._told.union(namespaces):
            self._queued.labels(namespace).set(namespaces.get(namespace, 0))
        self._told.update(namespaces)


def _tell(metric: Gauge, labels: tuple[str, ...], number: Decimal | int | None) -> None:
    """Amounts are exact up to here; Prometheus knows floats alone."""
    if number is None:
        _drop(metric, labels)
    else:
        metric.labels(*labels).set(float(number))


def _drop(metric: Gauge | Counter, labels: tuple[str, ...]) -> None:
    with contextlib.suppress(KeyError):  # it was never there
        metric.remove(*labels)
