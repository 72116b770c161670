"""kubectl bound to one cluster."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from easel_api.errors import BackendFault


@dataclass(frozen=True)
class Kubectl:
    """Call it with kubectl's arguments. It is also a path, for those who start the program themselves."""

    program: Path
    kubeconfig: Path

    def __call__(self, *arguments: str, stdin: str | None = None, timeout: float = 120.0) -> str:
        """Standard output; a refused command raises `BackendFault` with kubectl's own words."""
        done = self.run(*arguments, stdin=stdin, timeout=timeout)
        if done.returncode:
            raise BackendFault(f"kubectl {arguments[0]} failed", found=done.stderr.strip())
        return done.stdout

    def run(
        self, *arguments: str, stdin: str | None = None, timeout: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """The finished command, whether or not it was refused."""
        command = [str(self.program), "--kubeconfig", str(self.kubeconfig), *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)

    def apply(self, *manifests: object) -> str:
        """Apply objects given as plain data, server-side."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        return self("apply", "--server-side", "-f", "-", stdin=json.dumps(listed))

    def __fspath__(self) -> str:
        return str(self.program)
