"""Clips that an indexer looks at behind the making: a real API server, emulators of Azure ML, Entra ID and Azure AI Video Indexer."""

from __future__ import annotations

import dataclasses
import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from bought import Shop
from easel_emulators.azureml import SUBJECTS
from easel_emulators.base import Row
from easel_emulators.entra import CLIENT, SECRET, TENANT, entra
from easel_emulators.video_indexer import ACCOUNT, VideoIndexer, video_indexer
from worker_pods import NAMESPACE

pytestmark = [pytest.mark.apiserver, pytest.mark.engine, pytest.mark.s3]

CLIPS = SUBJECTS[1]
MODEL = str(CLIPS.offers[0]["model"])
SECONDS = 1
ROW = CLIPS.rows[MODEL]


@dataclass(frozen=True)
class Place:
    """A shop whose clips are looked at."""

    shop: Shop
    eyes: VideoIndexer

    def job(self, name: str, items: int = 2) -> dict[str, Any]:
        seeds = {"seeds": list(range(1, items + 1))}
        return self.shop.jobs({name: Row(ROW.task, {**ROW.parameters, **seeds})})[name]

    def items(self, name: str) -> list[dict[str, Any]]:
        return list(json.loads((self.shop.claim / name / "manifest.json").read_bytes())["items"])

    @property
    def billed(self) -> Decimal:
        return self.shop.emulator.billed + self.eyes.billed


@pytest.fixture
def place(
    opened: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Place]:
    """A test may give the Provider a `spend`."""
    with entra(tmp_path) as identities, video_indexer(tmp_path, identities) as eyes:
        monkeypatch.setenv("AZURE_AUTHORITY_HOST", f"{identities.url}/")
        told = {"account": ACCOUNT, "perMinute": "0.15", "endpoint": eyes.url, "resourceManager": eyes.url}
        subject = dataclasses.replace(
            CLIPS,
            secret={
                **CLIPS.secret,
                "AZURE_TENANT_ID": TENANT,
                "AZURE_CLIENT_ID": CLIENT,
                "AZURE_CLIENT_SECRET": SECRET,
            },
            spec={**CLIPS.spec, "videoIndexer": told, "spend": getattr(request, "param", {})},
        )
        with opened(subject) as shop:
            trusted = shop.folder / "providers" / shop.name / "ca.crt"
            authorities = (shop.emulator.authority, identities.authority, eyes.authority)
            trusted.write_text("".join(each.read_text() for each in authorities))
            yield Place(shop, eyes)


def test_what_clips_show_is_stored_beside_them(place: Place) -> None:
    job = place.job("seen")
    assert place.shop.run(job, MODEL) is None
    for item in place.items("seen"):
        assert item["state"] == "Succeeded"
        insights = item["insights"]
        stored = (place.shop.claim / insights["key"]).read_bytes()
        clip = (place.shop.claim / item["delivered"]["key"]).read_bytes()
        assert insights["key"] == item["delivered"]["key"].replace(".mp4", ".insights.json")
        assert (insights["state"], insights["bytes"], insights["cost"]) == ("Succeeded", len(stored), "0.0025")
        video = place.eyes.videos[insights["remote"]]
        assert video.data == clip
        assert json.loads(stored) == place.eyes.indexed(video)
    assert len(place.eyes.videos) == 2
    assert place.shop.ledger() == place.billed == Decimal("0.045")
    status = json.loads(place.shop.kubectl("get", "gen", "seen", "-n", NAMESPACE, "-o", "json"))["status"]
    assert Decimal(status["cost"]["spent"]) == place.billed
    assert place.eyes.refused == []


@pytest.mark.parametrize(
    ("word", "reason", "uploads"),
    [
        ("slow", "", 1),
        ("reset", "", 1),
        ("gateway", "", 1),
        ("throttled", "", 1),
        ("unavailable", "", 1),
        ("forgetful", "", 1),
        ("failed", "BackendFault", 1),
        ("lost", "AmbiguousSubmit", 0),
    ],
)
def test_a_clip_counts_whatever_becomes_of_its_insights_and_is_handed_in_once(
    place: Place, word: str, reason: str, uploads: int
) -> None:
    place.eyes.next.append(word)
    job = place.job(f"seen-{word}", 1)
    assert place.shop.run(job, MODEL) is None
    (item,) = place.items(f"seen-{word}")
    insights = item["insights"]
    assert (item["state"], insights.get("error", {}).get("reason", "")) == ("Succeeded", reason)
    assert len(place.eyes.videos) == uploads
    lost = Decimal("0.0025") if word == "lost" else Decimal(0)  # nobody knows that it did not arrive
    assert place.shop.ledger() == place.billed + lost
    assert not sum(Decimal(each["reserved"]) for each in place.shop.spend()["accounts"])
    if reason:
        status = json.loads(place.shop.kubectl("get", "gen", f"seen-{word}", "-n", NAMESPACE, "-o", "json"))["status"]
        assert status["lastFailure"]["reason"] == reason


@pytest.mark.parametrize("place", [{"perDay": "0.021"}], indirect=True)
def test_without_money_for_insights_there_are_clips_alone(place: Place) -> None:
    job = place.job("seen-poor", 1)
    assert place.shop.run(job, MODEL) is None
    (item,) = place.items("seen-poor")
    assert (item["state"], item["insights"]["error"]["reason"], item["insights"]["cost"]) == (
        "Succeeded",
        "BudgetSpent",
        "0",
    )
    assert (len(place.eyes.videos), place.shop.ledger()) == (0, place.billed)


def test_a_worker_that_is_killed_hands_in_no_clip_twice(place: Place, eventually: Callable[..., None]) -> None:
    place.eyes.next.append("slow")
    job = place.job("seen-killed", 1)
    worker = place.shop.start(job, MODEL)
    eventually(
        lambda: bool(place.eyes.videos) and "remote" in place.items("seen-killed")[0]["insights"], "it is looked at"
    )
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert place.shop.run(job, MODEL) is None
    (item,) = place.items("seen-killed")
    assert item["insights"]["state"] == "Succeeded"
    assert (len(place.eyes.videos), len(place.shop.emulator.calls)) == (1, 1)
    assert place.shop.ledger() == place.billed


def test_an_application_that_is_not_there_is_told_before_anything_is_made(place: Place) -> None:
    (place.shop.folder / "providers" / place.shop.name / "AZURE_CLIENT_SECRET").unlink()
    error = place.shop.run(place.job("unseen", 1), MODEL)
    assert error is not None
    assert (error.reason, "AZURE_CLIENT_SECRET" in error.what) == ("AuthConfig", True)
    assert place.shop.emulator.calls == []
