"""The reconcile loop: observe, decide, act.

A first decision is made on what the watches have seen. When it asks for nothing, that is all: a settled cluster costs no
request. Else the object is read anew and decided upon again, so that no write rests on a stale view of it. What the API
server refuses for good becomes part of the view, and the next decision writes it into the status.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from easel_api.errors import EaselError, Transient
from easel_operator.core.actions import RecordEvent
from easel_operator.core.configuration import Configuration
from easel_operator.core.decision import Decision, Environment, Refusal
from easel_operator.core.job.decide import decide as decide_job
from easel_operator.core.model.decide import decide as decide_model
from easel_operator.core.observed import JobView, ModelView, ProviderView
from easel_operator.core.provider.decide import decide as decide_provider
from easel_operator.core.resources import MODEL_DEPLOYMENTS, PROVIDERS, Key, Reference
from easel_operator.ports.cluster import REFUSALS, Cluster
from easel_operator.ports.metrics import Metrics, Result

from .cache import Cache
from .observing import Observer
from .workqueue import Outcome

logger = logging.getLogger(__name__)

View = ModelView | JobView | ProviderView


class NotLeading(Exception):
    """This process may not write now."""


class Loop:
    """Reconciles one object at a time; the work queue calls it for many at once.

    `heed` hears of the decision on every object, and of None when there is no such object any more. It answers whether what it
    heard changes what the decision rests on, which is then made anew.
    """

    def __init__(
        self,
        cache: Cache,
        observer: Observer,
        cluster: Cluster,
        metrics: Metrics,
        configuration: Configuration,
        heed: Callable[[Key, Decision | None], bool],
        *,
        leads: Callable[[], bool],
        clock: Callable[[], datetime],
    ) -> None:
        self._cache, self._observer, self._cluster, self._metrics = cache, observer, cluster, metrics
        self._configuration, self._heed, self._leads, self._clock = configuration, heed, leads, clock

    async def reconcile(self, key: Key) -> Outcome:
        """Bring an object where it should be. No error leaves this function: one bad object must not stop the others."""
        started = time.monotonic()
        try:
            result, outcome = await self._pass(key)
        except NotLeading:
            return Outcome(failed=True)
        except Transient as error:
            logger.info("%s: %s; retried", key, error)
            result, outcome = "retried", Outcome(failed=True)
        except EaselError as error:
            logger.warning("%s: %s", key, error)
            result, outcome = "failed", Outcome(failed=True)
        except Exception:
            logger.exception("%s: a defect of the operator", key)
            result, outcome = "failed", Outcome(failed=True)
        self._metrics.reconciled(key.kind, result, time.monotonic() - started)
        return outcome

    async def _pass(self, key: Key) -> tuple[Result, Outcome]:
        seen = self._cache.get(key.resource, key.namespace, key.name)
        if seen is None:
            self._heed(key, None)
            return "settled", Outcome()
        _, decision = await self._decided(key, seen)
        if decision.settled:
            return "settled", Outcome(requeue_after=decision.requeue_after)
        fresh = await self._cluster.get(Reference(key.resource, key.namespace, key.name))
        if fresh is None:
            self._heed(key, None)
            return "settled", Outcome()
        return await self._act_upon(*await self._decided(key, fresh))

    async def _decided(self, key: Key, raw: dict[str, Any]) -> tuple[View, Decision]:
        view = await self._observe(key, raw)
        decision = self._decide(view)
        if self._heed(key, decision):
            view = await self._observe(key, raw)
            decision = self._decide(view)
        return view, decision

    async def _observe(self, key: Key, raw: dict[str, Any]) -> View:
        if key.resource == MODEL_DEPLOYMENTS:
            return await self._observer.model(key, raw)
        if key.resource == PROVIDERS:
            return await self._observer.provider(key, raw)
        return await self._observer.job(key, raw)

    def _decide(self, view: View) -> Decision:
        environment = Environment(self._clock(), self._configuration)
        match view:
            case ModelView():
                return decide_model(view, environment)
            case ProviderView():
                return decide_provider(view, environment)
            case JobView():
                return decide_job(view, environment)

    async def _act_upon(self, view: View, decision: Decision) -> tuple[Result, Outcome]:
        try:
            await self._act(view.identity.key, decision)
        except REFUSALS as error:
            logger.warning("%s: refused: %s", view.identity.key, error)
            await self._act(view.identity.key, self._decide(replace(view, refusal=Refusal.of(error))))
            return "refused", Outcome(failed=True)
        result: Result = "settled" if decision.settled else "acted"
        return result, Outcome(requeue_after=decision.requeue_after)

    async def _act(self, key: Key, decision: Decision) -> None:
        if not decision.settled:
            logger.info("%s: %s", key, "; ".join(decision.reasons))
        for action in decision.actions:
            if not self._leads():
                raise NotLeading
            try:
                await self._cluster.perform(action)
            except EaselError as error:
                if not isinstance(action, RecordEvent):
                    raise
                logger.info("%s: no Event: %s", key, error)  # An Event is a courtesy.
            self._metrics.acted(key.kind, type(action).__name__)
