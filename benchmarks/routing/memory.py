"""Memory of a worker that may go to every wire family, before a call is made and with each family's client made.

    .venv/bin/python benchmarks/routing/memory.py

Each figure is the resident memory of a fresh process in MiB, once everything a worker imports for a job of a class is there. Prints a table and
writes build/benchmarks/routing_memory.json; fails when a worker with all families configured takes 150 MiB.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from rich.console import Console
from rich.table import Table

from easel_api.offers import WireFamily
from easel_api.provider import IN_REGIONS

OUT = Path("build/benchmarks/routing_memory.json")
AIM = 150
OFFERS = {
    WireFamily.BEDROCK_INVOKE: {"model": "stability.stable-image-core-v1:1"},
    WireFamily.BEDROCK_ASYNC: {"model": "luma.ray-v2:0"},
    WireFamily.VERTEX_GENERATE_CONTENT: {"model": "gemini-3-pro-image"},
    WireFamily.VERTEX_LONG_RUNNING: {"model": "veo-3.1-generate-001"},
    WireFamily.VERTEX_INTERACTIONS: {"model": "gemini-omni-1.2-flash"},
    WireFamily.OPENAI_IMAGES: {"model": "gpt-image-2"},
    WireFamily.AZURE_OPENAI_IMAGES: {"model": "gpt-image-2"},
    WireFamily.STABILITY_V2BETA: {"model": "core"},
    WireFamily.RUNWAY_TASKS: {"model": "gen4.5"},
    WireFamily.BFL_POLL: {"model": "flux-2-pro"},
}
"""Others take models of one's own."""
WORKER = """
import json, sys
from pathlib import Path
import easel_inference.jobs.__main__, easel_inference.jobs.routes
from easel_inference.backends.base import Setup
from easel_inference.backends.families import client_of
from easel_inference.routing.classes import account_of
from easel_inference.routing.request import Resolved
from easel_api.provider import ProviderSpec

setups = []
for spec in map(ProviderSpec.model_validate, json.loads(sys.argv[1])):
    account_of(spec)
    model = spec.offers[0].model
    setups.append(Setup(f"it/{model}", spec, model, Resolved(), Path(sys.argv[2])))
clients = [client_of(each) for each in setups if sys.argv[3] == "clients"]
for line in Path("/proc/self/status").read_text().splitlines():
    if line.startswith("VmRSS"):
        print(int(line.split()[1]) / 1024)
"""


def spec_of(family: WireFamily) -> dict[str, object]:
    """A Provider's spec."""
    own = {"model": "own-model", "tasks": ["text-to-image"], "prices": [{"amount": "0.01", "per": "Image"}]}
    if family in (WireFamily.REPLICATE_PREDICTIONS, WireFamily.FAL_QUEUE):
        own["model"] = "team/own-model"
    wants: dict[str, object] = {"endpoint": "https://provider.example.org"}
    if family in IN_REGIONS:
        wants["region"] = "us-central1"
    if family is WireFamily.BEDROCK_ASYNC:
        wants["bucket"] = {"name": "art"}
    return {
        "family": family.value,
        "credentials": {"secretRef": {"name": "keys"}},
        "offers": [OFFERS.get(family, own)],
    } | wants


def keys(folder: Path) -> None:
    """A Secret that fits every family."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    google = {
        "type": "service_account",
        "project_id": "art-studio",
        "private_key_id": "1",
        "private_key": key.decode(),
        "client_email": "easel@art-studio.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    for name, value in (
        ("API_KEY", "key"),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "key"),
        ("SERVICE_ACCOUNT_JSON", json.dumps(google)),
    ):
        (folder / name).write_text(value)


def measured(families: list[WireFamily], folder: Path, *, clients: bool) -> float:
    """MiB."""
    specs = json.dumps([spec_of(family) for family in families])
    told = [sys.executable, "-c", WORKER, specs, str(folder), "clients" if clients else "configured"]
    return float(subprocess.run(told, check=True, capture_output=True, text=True).stdout)


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        keys(folder)
        everything = list(WireFamily)
        none = measured([], folder, clients=False)
        found = {"no provider": none, "all families configured": measured(everything, folder, clients=False)}
        found |= {f"client of {family.value}": measured([family], folder, clients=True) for family in everything}
        found["clients of all families at once"] = measured(everything, folder, clients=True)
    table = Table(title="memory of a worker", header_style="bold")
    table.add_column("")
    table.add_column("MiB", justify="right")
    table.add_column("more than with none", justify="right")
    for what, mebibytes in found.items():
        table.add_row(what, f"{mebibytes:.0f}", f"{mebibytes - none:.0f}")
    Console().print(table)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(found, indent=1) + "\n")
    return 0 if found["all families configured"] < AIM else 1


if __name__ == "__main__":
    sys.exit(main())
