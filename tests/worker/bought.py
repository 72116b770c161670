"""Jobs whose one backend is an offer of a Provider, each run by a worker in this process: a real API server, an emulator, and results on a claim
or, where a test is about them, in a bucket of a real S3 server."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from easel_emulators.base import Emulator, Row, Subject
from PIL import Image
from worker_pods import NAMESPACE

from easel_api.errors import EaselError
from easel_api.tasks import TAKES, Task
from easel_inference.artifacts.encoding import encode
from easel_inference.jobs.__main__ import _run
from easel_inference.jobs.access import Api, Server
from easel_inference.jobs.purses import ProviderName
from easel_inference.jobs.settings import Settings

PROMPT = "a blue mug on grass, front view"
SIDE = 256
PICTURE = Path(__file__).parents[2] / "examples/inputs/mug.png"
INPUTS = {
    "image": "image.png",
    "mask": "mask.png",
    "control": "image.png",
    "clip": "clip.mp4",
    "style": "style.png",
    "garment": "style.png",
}


@dataclass(frozen=True)
class Cell:
    """What became of an item."""

    reason: str
    """Of the error; empty: it was delivered."""
    paid: int
    """Calls that the emulator counted."""
    billed: Decimal
    """Money that the emulator counted, in US dollars."""
    ledger: Decimal
    """Money that the Provider's ledger holds for it."""
    reserved: Decimal
    """Money that the ledger still keeps for it."""


@dataclass
class Shop:
    """A subject's emulator, and a Provider of it on the API server."""

    kubectl: Any
    account: Path
    bucket: Any
    folder: Path
    subject: Subject
    emulator: Emulator

    @property
    def name(self) -> str:
        """Of the Provider."""
        return self.subject.title.lower().replace(", ", "-")

    def open(self) -> None:
        """Makes the Provider, its Secret's folder and the inputs of jobs."""
        secrets = self.folder / "providers" / self.name
        secrets.mkdir(parents=True)
        for key, value in {**self.subject.secret, "ca.crt": self.emulator.authority.read_text()}.items():
            (secrets / key).write_text(value.replace("{url}", self.emulator.url))
        places = {"url": self.emulator.url, **getattr(self.emulator, "places", {})}
        spec = {
            "family": self.subject.family,
            "endpoint": self.emulator.url,
            "credentials": {"secretRef": {"name": self.name}},
            "offers": [dict(offer) for offer in self.subject.offers],
            **filled(self.subject.spec, places),
        }
        self.kubectl.apply(
            {
                "apiVersion": "easel.dev/v1alpha1",
                "kind": "Provider",
                "metadata": {"name": self.name, "namespace": NAMESPACE},
                "spec": spec,
            }
        )
        for key, data in inputs().items():
            (self.claim / "in").mkdir(parents=True, exist_ok=True)
            (self.claim / "in" / key).write_bytes(data)

    @property
    def claim(self) -> Path:
        """The folder of the claim `results`."""
        return self.folder / "claims/results"

    def jobs(self, rows: Mapping[str, Row], *, to_bucket: bool = False, **spec: Any) -> dict[str, dict[str, Any]]:
        """GenerationJobs on the API server of one item each, by name."""
        s3 = {"s3": {"bucket": self.bucket.name, "endpoint": self.bucket.endpoint}}
        store = s3 if to_bucket else {"persistentVolumeClaim": {"claimName": "results"}}
        self.kubectl.apply(*(self._manifest(name, row, store, spec) for name, row in rows.items()))
        found = json.loads(self.kubectl("get", "gen", *rows, "-n", NAMESPACE, "-o", "json"))
        return {job["metadata"]["name"]: job for job in found.get("items", [found])}

    def _manifest(self, name: str, row: Row, store: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
        takes = TAKES[Task(row.task)]
        files = {field: {"uri": f"pvc://results/in/{INPUTS[field]}"} for field in INPUTS if getattr(takes, field)}
        prompt = {"text": PROMPT} | ({"search": "the mug"} if takes.search else {})
        return {
            "apiVersion": "easel.dev/v1alpha1",
            "kind": "GenerationJob",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "task": row.task,
                "generationClassName": "bought",
                "onUnsupported": "Adapt",
                "maxAttempts": 1,
                "prompts": [] if takes.mute else [prompt],
                "parameters": {"seeds": [7], **row.parameters},
                "inputs": files,
                "output": {"store": store},
                **spec,
            },
        }

    def environment(self, job: Mapping[str, Any], model: str) -> dict[str, str]:
        """Of the worker of a job that the class gives to one offer."""
        backends = [{"provider": {"name": self.name}, "models": [model]}]
        return {
            "EASEL_JOB_NAME": job["metadata"]["name"],
            "EASEL_JOB_NAMESPACE": NAMESPACE,
            "EASEL_JOB_UID": job["metadata"]["uid"],
            "EASEL_CLASS": json.dumps({"backends": backends}),
            "EASEL_ENDPOINT": "",
            "EASEL_PROVIDERS_DIR": str(self.folder / "providers"),
            "EASEL_CLAIMS_DIR": str(self.folder / "claims"),
            "EASEL_CREDENTIALS_DIR": str(self.folder / "credentials"),
            "EASEL_SERVICE_ACCOUNT_DIR": str(self.account),
        }

    def run(self, job: Mapping[str, Any], model: str) -> EaselError | None:
        """The whole life of a worker of the job; what failed the job."""
        try:
            _run(Settings.read(self.environment(job, model)), threading.Event())
        except EaselError as error:
            return error
        return None

    def start(self, job: Mapping[str, Any], model: str) -> subprocess.Popen[bytes]:
        """A worker of the job, in a process of its own that may be killed."""
        environment = {**os.environ, **self.environment(job, model)}
        return subprocess.Popen(
            [sys.executable, "-m", "easel_inference.jobs"], env=environment, stderr=subprocess.DEVNULL
        )

    def cells(self, words: Iterable[str], row: Row, model: str) -> dict[str, Cell | Exception]:
        """What becomes of an item behind each of `WORDS`, one after the other."""
        jobs = self.jobs({f"{self.name}-{word.replace(' ', '-')}": row for word in words})
        found: dict[str, Cell | Exception] = {}
        for word in words:
            try:
                found[word] = self.cell(jobs[f"{self.name}-{word.replace(' ', '-')}"], model, word)
            except Exception as error:  # noqa: BLE001 - shown by the test of the family
                found[word] = error
        return found

    def cell(self, job: Mapping[str, Any], model: str, *words: str) -> Cell:
        """What becomes of a job behind words that come one after the other."""
        paid, billed, before = len(self.emulator.paid), self.emulator.billed, self.ledger()
        self.emulator.next.extend(words)
        error = self.run(job, model)
        return Cell(
            error.reason if error else "",
            len(self.emulator.paid) - paid,
            self.emulator.billed - billed,
            self.ledger() - before,
            self.reserved(),
        )

    def spend(self) -> dict[str, Any]:
        """The Provider's ledger."""
        api = Api(Server.in_cluster(self.account), threading.Event())
        found = json.loads(api.read(ProviderName(NAMESPACE, self.name).path, self.name))
        return dict(found.get("status", {}).get("spend", {}))

    def ledger(self) -> Decimal:
        """What was paid this month, in US dollars."""
        return Decimal(self.spend().get("month", {}).get("amount", "0"))

    def reserved(self) -> Decimal:
        """What the ledger keeps for calls that have not ended, in US dollars."""
        return sum((Decimal(each.get("reserved", "0")) for each in self.spend().get("accounts", [])), Decimal(0))

    def delivered(self, job: str) -> dict[str, Any]:
        """The one item of the manifest on the claim."""
        return item_of((self.claim / job / "manifest.json").read_bytes())


def item_of(manifest: bytes) -> dict[str, Any]:
    """Its one item."""
    (item,) = json.loads(manifest)["items"]
    return dict(item)


def filled(value: Any, places: Mapping[str, str]) -> Any:
    """With the emulator's own addresses in place of `{url}` and others."""
    if isinstance(value, str):
        for name, place in places.items():
            value = value.replace(f"{{{name}}}", place)
        return value
    if isinstance(value, Mapping):
        return {key: filled(each, places) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [filled(each, places) for each in value]
    return value


def inputs() -> dict[str, bytes]:
    """A picture of a mug, a mask of what is above it, and a clip."""
    with Image.open(PICTURE) as opened:
        picture = np.asarray(opened.convert("RGB").resize((SIDE, SIDE)))
    mask = np.zeros_like(picture)
    mask[: SIDE // 8] = 255
    return {
        "image.png": png(picture),
        "mask.png": png(mask),
        "style.png": png(255 - picture),
        "clip.mp4": encode(np.repeat(picture[None], 16, axis=0), "mp4", 8),
    }


def png(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """The encoded picture."""
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "PNG")
    return target.getvalue()
