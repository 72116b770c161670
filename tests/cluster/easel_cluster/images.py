"""Builds the project's images from the Dockerfile that ships and loads them into the running cluster.

BuildKit keeps its state in the cache, so a change of code rebuilds the last layers alone. Layers are exported uncompressed,
and not at all when the cluster already has that very image.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from easel_api.errors import BackendFault
from easel_cluster import bases, machine, oci, processes
from easel_cluster.cluster import Cluster, need_root
from easel_cluster.layout import REPOSITORY, State, cache_folder
from easel_cluster.processes import Program
from easel_cluster.tools import IMAGE_TOOLS, Report, ensure, last_lines, locked, say, watch

TARGETS = ("operator", "runtime")
STAND_INS = {"PYTHON_IMAGE": "easel-base/python:local", "TRITON_IMAGE": "easel-base/triton:local"}
"""The Dockerfile's arguments for its bases, and the names that the stand-ins go by during a build."""


@dataclass(frozen=True)
class Builder:
    """A running BuildKit."""

    buildctl: Path
    address: str
    state: State

    def build(self, target: str, report: Report) -> str:
        """Build a target into the builder's own store; the image's digest."""
        log, metadata = self.state.logs / f"build-{target}.log", self.state.config / f"{target}.json"
        shape = f"type=image,name={image_name(target)},oci-mediatypes=true,compression=uncompressed"
        output = ("--output", shape, "--metadata-file", str(metadata))
        with log.open("wb") as told:
            command = (str(self.buildctl), "--addr", self.address, "build", *_inputs(target), *output)
            build = subprocess.Popen(command, stdout=told, stderr=told)
            watch(build, f"building the {target} image", report)
        if build.returncode:
            raise BackendFault(f"building the {target} image failed", found=last_lines(log, 6))
        return str(json.loads(metadata.read_text())["containerimage.digest"])

    def prune(self, *options: str) -> None:
        """Delete steps of earlier builds."""
        command = (str(self.buildctl), "--addr", self.address, "prune", "--all", *options)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BackendFault("BuildKit could not be pruned", found=done.stderr.strip())


def image_name(target: str) -> str:
    """The name that pods use."""
    return f"docker.io/easel/{target}:dev"


def build_and_load(cluster: Cluster | None, targets: Sequence[str] = TARGETS, report: Report = say) -> None:
    """Build the images; load those that the cluster, when there is one, does not have yet."""
    need_root()
    with _builder(report) as builder:
        beginning = time.monotonic()
        _make_room(builder, targets)
        for target in targets:
            started = time.monotonic()
            digest = builder.build(target, report)
            if cluster is not None and _loaded(cluster, target) != digest:
                _load(cluster, target, digest, builder.state, report)
            report(f"{image_name(target)} {digest[:19]} after {time.monotonic() - started:.0f} s")
        if set(targets) == set(TARGETS):
            # What these builds did not use belongs to code that is no more.
            builder.prune("--keep-duration", f"{time.monotonic() - beginning + 60:.0f}s")


def _make_room(builder: Builder, targets: Sequence[str]) -> None:
    """Forget everything when the gigabytes are to be built anew: old and new side by side would fill small disks."""
    if "runtime" not in targets:
        return
    digest = hashlib.sha256(bases.triton_base().digest.encode())
    for name in ("Dockerfile", "requirements/engine.txt"):
        digest.update((REPOSITORY / name).read_bytes())
    stamp = _store().with_name("built-from")
    if not stamp.exists() or stamp.read_text() != digest.hexdigest():
        builder.prune()
        stamp.write_text(digest.hexdigest())


def _load(cluster: Cluster, target: str, digest: str, scratch: State, report: Report) -> None:
    """Hand over the layers that the cluster lacks: of gigabytes, a change of code is a few megabytes."""
    archive, log = scratch.data / f"{target}.tar", scratch.logs / f"load-{target}.log"
    has = set(cluster.ctr("content", "list", "--quiet").split())
    try:
        oci.partial_archive(_store() / "runc-overlayfs" / "content", digest, image_name(target), has, archive)
    except FileNotFoundError as missing:
        fix = f"Delete {_store().parent} while nothing builds, and build again."
        raise BackendFault("a layer is gone from BuildKit's store", where=str(missing.filename), fix=fix) from None
    with log.open("wb") as told:
        command = (*cluster.client, "images", "import", str(archive))
        watch(loading := subprocess.Popen(command, stdout=told, stderr=told), f"loading the {target} image", report)
    archive.unlink()
    if loading.returncode:
        raise BackendFault(f"loading the {target} image failed", found=last_lines(log, 6))
    _forget_replaced(cluster)


def _store() -> Path:
    return cache_folder() / "buildkit" / "state"


def _loaded(cluster: Cluster, target: str) -> str | None:
    """The digest of the image that the cluster has by that name."""
    return _listed(cluster).get(image_name(target))


def _forget_replaced(cluster: Cluster) -> None:
    """Drop images that lost their name to a newer one: kubelet, which usually does so, is told to keep all."""
    listed = _listed(cluster)
    named = {digest for name, digest in listed.items() if not name.startswith("sha256:")}
    replaced = [name for name, digest in listed.items() if digest not in named]
    if replaced:
        cluster.ctr("images", "delete", *replaced)


def _listed(cluster: Cluster) -> dict[str, str]:
    """Images by name with their digests; each is also listed under the digest of its configuration."""
    rows = [line.split() for line in cluster.ctr("images", "list").splitlines()[1:]]
    return {row[0]: row[2] for row in rows}


def _inputs(target: str) -> list[str]:
    made = {"PYTHON_IMAGE": bases.python_base()} | (
        {"TRITON_IMAGE": bases.triton_base()} if target == "runtime" else {}
    )
    inputs = [
        "--frontend", "dockerfile.v0", "--local", f"context={REPOSITORY}", "--local", f"dockerfile={REPOSITORY}",
        "--opt", f"target={target}", "--progress", "plain",
        # Packages come from wherever this machine gets them; the network of the machine is the way there.
        "--allow", "network.host", "--opt", "force-network-mode=host",
    ]  # fmt: skip
    for argument, base in made.items():
        store = f"base-{argument.partition('_')[0].lower()}"
        inputs += ["--opt", f"build-arg:{argument}={STAND_INS[argument]}"]
        inputs += ["--opt", f"context:{STAND_INS[argument]}=oci-layout://{store}@{base.digest}"]
        inputs += ["--oci-layout", f"{store}={base.layout}"]
    settings = _pip_settings()
    return inputs + (["--secret", f"id=pip,src={settings}"] if settings else [])


def _pip_settings() -> Path | None:
    candidates = (Path.home() / ".config/pip/pip.conf", Path.home() / ".pip/pip.conf", Path("/etc/pip.conf"))
    return next((path for path in candidates if path.is_file()), None)


@contextmanager
def _builder(report: Report) -> Iterator[Builder]:
    tools = ensure(IMAGE_TOOLS, report)
    _store().mkdir(parents=True, exist_ok=True)
    for base in (bases.python_base(report), bases.triton_base(report)):
        report(f"base {base.layout.name}")
    with (
        locked(_store().with_name("lock"), "another process builds images", report),
        tempfile.TemporaryDirectory(prefix="easel-") as folder,
    ):
        state = State(Path(folder)).make()
        builder = Builder(tools["buildctl"], f"unix://{folder}/buildkit.sock", state)
        try:
            processes.start(_daemon(tools, builder), state)
            yield builder
        finally:
            processes.stop("buildkitd", state)
            machine.remove_cgroups("buildkit")


def _daemon(tools: dict[str, Path], builder: Builder) -> Program:
    config = builder.state.config / "buildkitd.toml"
    config.write_text(DAEMON.format(runc=tools["runc"], root=_store()))
    check = (str(builder.buildctl), "--addr", builder.address, "debug", "workers")
    return Program(
        "buildkitd",
        (str(tools["buildkitd"]), "--config", str(config), "--addr", builder.address),
        lambda: subprocess.run(check, capture_output=True, check=False).returncode == 0,
        # A build that was cut short leaves no mounts and no containers behind.
        walls=("--mount", "--pid", "--mount-proc", "--propagation", "private"),
        tied=True,
    )


DAEMON = """\
root = "{root}"
insecure-entitlements = ["network.host"]

[worker.containerd]
  enabled = false

[worker.oci]
  enabled = true
  binary = "{runc}"
  networkMode = "host"
  # Its own collector weighs how often a layer was used, and throws away the gigabytes that were just built.
  gc = false
"""
