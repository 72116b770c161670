"""Helm, bound to a kubeconfig and to the chart of this checkout."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from easel_cluster.layout import REPOSITORY
from easel_cluster.tools import KUBERNETES_VERSION

from easel_api.errors import BackendFault

CHART = REPOSITORY / "charts" / "easel"
RELEASE = "easel"

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Helm:
    """The real helm. Values are plain data, handed over as JSON on standard input."""

    program: Path
    kubeconfig: Path | None = None

    def run(self, *arguments: str, values: Manifest | None = None) -> subprocess.CompletedProcess[str]:
        """The finished command, whether or not it was refused."""
        command = [str(self.program), *arguments]
        if self.kubeconfig:
            command += ["--kubeconfig", str(self.kubeconfig)]
        if values is not None:
            command += ["--values", "-"]
        # Without its version set at build time helm takes every cluster for an ancient one unless told.
        if arguments[0] in ("template", "lint"):
            command += ["--kube-version", KUBERNETES_VERSION]
        given = json.dumps(values or {})
        return subprocess.run(command, input=given, capture_output=True, text=True, timeout=300, check=False)

    def __call__(self, *arguments: str, values: Manifest | None = None) -> str:
        """Standard output; a refused command raises `BackendFault` with helm's own words."""
        done = self.run(*arguments, values=values)
        if done.returncode:
            raise BackendFault(f"helm {arguments[0]} failed", found=(done.stderr or done.stdout).strip())
        return done.stdout

    def lint(self, values: Manifest | None = None) -> str:
        """What `helm lint --strict` says."""
        return self("lint", "--strict", str(CHART), values=values)

    def render(self, namespace: str, values: Manifest | None = None, *, apis: tuple[str, ...] = ()) -> list[Manifest]:
        """The objects that an install would create; `apis` are kinds that the cluster shall know."""
        known = [flag for api in apis for flag in ("--api-versions", api)]
        text = self("template", RELEASE, str(CHART), "--namespace", namespace, *known, values=values)
        return [document for document in yaml.safe_load_all(text) if document]

    def install(self, namespace: str, values: Manifest | None = None, *flags: str) -> str:
        """Install, or bring what is installed up to date."""
        return self("upgrade", RELEASE, str(CHART), "--install", "--namespace", namespace, *flags, values=values)

    def test(self, namespace: str) -> str:
        """What `helm test` says, with the log of its pod."""
        return self("test", RELEASE, "--namespace", namespace, "--logs", "--timeout", "120s")

    def uninstall(self, namespace: str) -> str:
        """Remove the release; CRDs and what users made stay."""
        return self("uninstall", RELEASE, "--namespace", namespace)
