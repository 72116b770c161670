"""Stand-ins for the Dockerfile's base images, for machines that reach no image registry.

Made from Debian packages and from the Triton server inside the nvidia-pytriton wheel, once for each recipe, and kept in the
cache. They hold the machine's own authority certificates, so that a build step reaches what the machine reaches; they are
for this machine alone and never pushed. A build on a connected machine takes the Dockerfile's real bases instead.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from easel_api.errors import BackendFault, EnvironmentFault
from easel_cluster import debian, oci
from easel_cluster.layout import cache_folder
from easel_cluster.tools import Report, last_lines, locked, say, watch

SUITE = "bookworm"
PYTHON = "3.11"
PACKAGES = ("python3", "python3-pip", f"libpython{PYTHON}", "ca-certificates")
MIRROR = "http://deb.debian.org/debian"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
DROPPED = (
    "var/cache",
    "var/lib/apt/lists",
    "var/log",
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "dev",
    "proc",
    "sys",
)
"""Folders whose content an image does not need; the container runtime fills the last three."""

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
RECIPE = 1
"""Raise it when the code below makes other bytes from the same inputs."""


MakeLayers = Callable[[Path], list[Path]]
"""Given a scratch folder, makes tar files, the lowest layer first."""


@dataclass(frozen=True)
class Base:
    """A base image as an OCI layout in a folder."""

    layout: Path
    digest: str


def python_base(report: Report = say) -> Base:
    """Debian with Python, in place of the `python` image."""
    recipe = repr((RECIPE, SUITE, PACKAGES, DROPPED, hashlib.sha256(CERTIFICATES.read_bytes()).hexdigest()))
    return _cached("python", recipe, lambda scratch: [_debian_layer(scratch, report)], report)


def triton_base(report: Report = say) -> Base:
    """The same with a Triton server in /opt/tritonserver, in place of NVIDIA's image."""
    below = _only_layer(python_base(report))
    recipe = repr((RECIPE, below.name, importlib.metadata.version("nvidia-pytriton")))
    return _cached("triton", recipe, lambda scratch: [below, _triton_layer(scratch)], report)


def forget_others() -> list[str]:
    """Delete bases of recipes that are no longer asked for; their folders."""
    kept = {python_base().layout, triton_base().layout}
    others = [folder for folder in _folder().iterdir() if folder.is_dir() and folder not in kept]
    for folder in others:
        shutil.rmtree(folder)
    return sorted(folder.name for folder in others)


def _folder() -> Path:
    return cache_folder() / "bases"


def _cached(name: str, recipe: str, make: MakeLayers, report: Report) -> Base:
    folder = _folder() / f"{name}-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    _folder().mkdir(parents=True, exist_ok=True)
    with locked(_folder() / f"{name}.lock", f"another process makes the {name} base", report):
        if not folder.exists():
            started = time.monotonic()
            scratch = folder.with_suffix(".partial")
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            oci.write_layout(scratch / "layout", make(scratch), oci.Runs(environment=ENVIRONMENT))
            (scratch / "layout").rename(folder)
            shutil.rmtree(scratch)
            report(f"made the {name} base in {time.monotonic() - started:.0f} s")
    return Base(folder, oci.layout_digest(folder))


def _only_layer(base: Base) -> Path:
    manifest = json.loads((base.layout / "blobs" / "sha256" / base.digest.removeprefix("sha256:")).read_text())
    return base.layout / "blobs" / "sha256" / str(manifest["layers"][0]["digest"]).removeprefix("sha256:")


def _debian_layer(scratch: Path, report: Report) -> Path:
    debian.need_debootstrap(report)
    root, log = scratch / "root", scratch / "debootstrap.log"
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(root), mirror()]
    # Mounts that debootstrap makes for its packages' scripts end with it, also when it is killed.
    walls = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private", "--"]
    with log.open("wb") as output:
        process = subprocess.Popen([*walls, *command], stdout=output, stderr=subprocess.STDOUT)
        watch(process, f"making a Debian {SUITE} base from packages", report)
    if process.returncode:
        raise BackendFault("debootstrap failed", where=SUITE, found=last_lines(log, 4))
    for name in DROPPED:
        shutil.rmtree(root / name)
        (root / name).mkdir()
    shutil.copyfile(CERTIFICATES, root / CERTIFICATES.relative_to("/"))
    for name in ("python", "python3"):
        (root / "usr/local/bin" / name).symlink_to("/usr/bin/python3")
    return _tar(root, scratch / "debian.tar")


def _triton_layer(scratch: Path) -> Path:
    server, libraries = _wheel_folders()
    root = scratch / "triton"
    target = root / "opt" / "tritonserver"
    shutil.copytree(server, target, ignore=shutil.ignore_patterns("python_backend_stubs"))
    stub = server / "python_backend_stubs" / PYTHON / "triton_python_backend_stub"
    shutil.copy2(stub, target / "backends" / "python" / stub.name)
    shutil.copytree(libraries, target / "lib")
    # The wheel's programs look for their libraries beside the package, which is four folders up from a backend.
    (root / libraries.name).symlink_to("/opt/tritonserver/lib")
    return _tar(root, scratch / "triton.tar")


def _wheel_folders() -> tuple[Path, Path]:
    spec = importlib.util.find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        raise EnvironmentFault(
            "no nvidia-pytriton package", where="pytriton", fix="Install the `local` extra (make setup)."
        )
    package = Path(next(iter(spec.submodule_search_locations)))
    return package / "tritonserver", package.parent / "nvidia_pytriton.libs"


def _tar(root: Path, target: Path) -> Path:
    command = ["tar", "--sort=name", "--mtime=@0", "--numeric-owner", "-C", str(root), "-cf", str(target), "."]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BackendFault("tar failed", where=str(root), found=done.stderr.strip())
    shutil.rmtree(root)
    return target


def mirror() -> str:
    """Where this machine takes Debian's packages from."""
    folder = Path("/etc/apt")
    texts = [path.read_text() for path in sorted(folder.glob("sources.list.d/*.sources"))]
    plain = [
        path.read_text()
        for path in (folder / "sources.list", *sorted(folder.glob("sources.list.d/*.list")))
        if path.exists()
    ]
    return mirror_of(texts, plain)


def mirror_of(deb822: list[str], one_line: list[str]) -> str:
    """The first source of the suite itself (not its security updates) in apt's own files, or Debian's main mirror."""
    for stanza in (part for text in deb822 for part in re.split(r"\n\s*\n", text)):
        fields = dict(re.findall(r"^(\w[\w-]*):\s*(.+)$", stanza, re.MULTILINE))
        if SUITE in fields.get("Suites", "").split() and fields.get("Enabled", "yes") != "no":
            return str(fields["URIs"]).split()[0]
    for text in one_line:
        found = re.search(rf"^deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+{SUITE}\s", text, re.MULTILINE)
        if found:
            return str(found[1])
    return MIRROR
