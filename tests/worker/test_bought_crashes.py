"""A worker that dies at any of its writes has nothing bought twice, and the ledger knows of every cent all the same.

What a provider sells gives no second chance: an item whose call may have been made is never asked for again, unless a handle of it was kept.
The worker dies by SIGKILL, before or behind the n-th of its writes of a kind, for every n that there is; then another one comes.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from typing import Any

import doomed
import pytest
from bought import Shop
from easel_emulators.replicate import SUBJECTS as REPLICATE
from easel_emulators.stability import SUBJECTS as STABILITY

from easel_inference.artifacts.manifest import ItemState, parse

pytestmark = [pytest.mark.apiserver, pytest.mark.s3]

SUBJECTS = {subject.title: subject for subject in (*REPLICATE, *STABILITY) if "," not in subject.title}
"""One whose calls give a handle, and one whose answer is the picture."""
ITEMS = 2
LEAST = {"manifest": 4, "picture": ITEMS, "ledger": 2, "status": 1}
"""Writes of a job: to claim its place, of a call, of its picture, of its end; a reservation, and what is left of it."""

forkserver = multiprocessing.get_context("forkserver")
forkserver.set_forkserver_preload(
    [
        "pytest", "doomed", "easel_inference.jobs.routes",
        "easel_inference.backends.replicate_predictions", "easel_inference.backends.stability_v2beta",
    ]
)  # fmt: skip


@dataclass
class Customer:
    """Jobs of one shop, by workers that die."""

    shop: Shop
    price: Decimal = Decimal(0)
    """Of an item."""
    paid: Decimal = Decimal(0)
    """What the ledger must say, of all jobs so far."""
    lost: dict[str, set[str]] = field(default_factory=dict)
    """By job, prompts of items whose call was announced, and of which a worker that died kept no more."""

    @property
    def model(self) -> str:
        return str(self.shop.subject.offers[0]["model"])

    def job(self, name: str) -> dict[str, Any]:
        """Each of its items has a prompt that no other has, by which the emulator's calls are told apart."""
        prompts = [{"text": f"mug {number} of {name}, front view"} for number in range(ITEMS)]
        row = self.shop.subject.rows[self.model]
        return self.shop.jobs({name: row}, prompts=prompts, failurePolicy="KeepPartial")[name]

    def life(self, job: dict[str, Any], at: int, when: str, kind: str) -> bool:
        """Of one worker; whether it died."""
        environment = {name: os.environ[name] for name in ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT")}
        told = (environment | self.shop.environment(job, self.model), at, when, kind)
        worker = forkserver.Process(target=doomed.buy, args=told)
        worker.start()
        worker.join(60)
        assert worker.exitcode in (0, 1, -signal.SIGKILL), "it ends"
        if worker.exitcode == -signal.SIGKILL:
            self.lost.setdefault(job["metadata"]["name"], set()).update(self._lost(job["metadata"]["name"]))
        return worker.exitcode == -signal.SIGKILL

    def _lost(self, job: str) -> Iterator[str]:
        """Of items that nobody can find again, by what is in the store."""
        path = self.shop.claim / job / "manifest.json"
        for item in parse(path.read_bytes(), str(path)).items if path.is_file() else ():
            picture = self.shop.claim / item.delivered.key if item.delivered else None
            out = item.state in (ItemState.SUBMITTED, ItemState.STORING) and not item.remote
            if out and not (picture and picture.is_file()):
                yield item.prompt

    def _unkept(self, job: str) -> set[str]:
        """Prompts of calls that were asked on, by a handle that is not in the store."""
        found = list(getattr(self.shop.emulator, "predictions", {}).values())
        return {work.body["prompt"] for work in found if work.asked} & self.lost.get(job, set())

    def check(self, job: str) -> list[str]:
        """What is wrong with a job that has ended."""
        items = json.loads((self.shop.claim / job / "manifest.json").read_bytes())["items"]
        calls = Counter(call["prompt"] for call in list(self.shop.emulator.calls))
        lost = self.lost.get(job, set())
        wrong = [f"{prompt}: asked on by a handle that was not kept" for prompt in self._unkept(job)]
        if len(items) != ITEMS:
            wrong.append(f"{len(items)} items")
        for item in items:
            ended = item["state"] if item["state"] != "Failed" else item["error"]["reason"]
            must, called = "AmbiguousSubmit" if item["prompt"] in lost else "Succeeded", calls[item["prompt"]]
            if ended != must or called > 1 or (ended == "Succeeded" and not called):
                wrong.append(
                    f"item {item['id']}: {ended}, called {called} times, where it must be {must}, called once at most"
                )
        # What may have been paid counts as paid: a call that was announced and, as it happened, never made.
        self.paid += ITEMS * self.price
        if self.shop.ledger() != self.paid or self.shop.reserved():
            wrong.append(f"ledger {self.shop.ledger()} where {self.paid} was paid, {self.shop.reserved()} reserved")
        return [f"{job}: {each}" for each in wrong]

    def settle(self, eventually: Callable[..., None]) -> None:
        """Holds the ledger against what the emulator has billed, once the last call of a worker that died has reached it."""
        emulator = self.shop.emulator
        eventually(
            lambda: emulator.billed == self.shop.ledger() - self.never_made() * self.price,
            f"the ledger has {self.paid}, and what was announced and never made is not in the bill",
            seconds=10,
        )
        assert len(emulator.paid) == len(emulator.calls)

    def never_made(self) -> int:
        """Calls that were announced by workers that died on the way to them."""
        called = {call["prompt"] for call in list(self.shop.emulator.calls)}
        return sum(prompt not in called for lost in self.lost.values() for prompt in lost)


@contextmanager
def customer_of(opened: Callable[..., Any], family: str) -> Iterator[Customer]:
    """Of a shop whose price it knows by a job that nobody disturbs."""
    with opened(SUBJECTS[family]) as shop:
        customer = Customer(shop)
        job = customer.job(f"{shop.name}-undisturbed")
        assert shop.run(job, customer.model) is None
        customer.price = shop.emulator.billed / len(shop.emulator.paid)
        assert customer.check(job["metadata"]["name"]) == []
        yield customer


@pytest.mark.parametrize("family", SUBJECTS)
def test_killed_at_any_write_it_leaves_nothing_to_be_bought_twice(
    family: str, opened: Callable[..., Any], eventually: Callable[..., None]
) -> None:
    wrong, deaths = [], Counter[str]()
    with customer_of(opened, family) as customer:
        for kind in doomed.KINDS:
            for when in doomed.WHEN:
                for at in count(1):
                    name = f"{customer.shop.name}-{when}-{kind}-{at}"
                    job = customer.job(name)
                    died = customer.life(job, at, when, kind)
                    customer.shop.run(job, customer.model)
                    wrong += customer.check(name)
                    if not died:
                        break
                    deaths[kind] += 1
                assert at > LEAST[kind], f"a worker has more writes of a {kind} than {at - 1}"
        assert not wrong, "\n".join(wrong)
        customer.settle(eventually)
        print(f"{family}: {dict(deaths)} deaths, {customer.never_made()} calls were announced and never made")


@pytest.mark.parametrize("family", SUBJECTS)
def test_killed_in_every_life_it_still_ends(
    family: str, opened: Callable[..., Any], eventually: Callable[..., None]
) -> None:
    """Each life makes a write more than the last one."""
    with customer_of(opened, family) as customer:
        name = f"{customer.shop.name}-again"
        job = customer.job(name)
        lives = next(at for at in count(1) if not customer.life(job, at, doomed.WHEN[at % 2], ""))
        assert customer.check(name) == []
        customer.settle(eventually)
    assert lives > ITEMS
