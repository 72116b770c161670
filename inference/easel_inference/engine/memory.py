"""How much memory shapes need: measured at start-up, and the refusal of a request that cannot fit before it starts.

On a GPU the peak is that of torch's allocator. On a CPU it is the process's resident peak as Linux keeps it (`VmHWM`),
which `/proc/self/clear_refs` brings back to the present.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path

import torch

from easel_api.errors import Unsupported
from easel_api.shapes import Shape, peak_of
from easel_api.weights import in_mib

GROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Where a container reads its own limit: cgroup v2 and v1."""


class Memory:
    """What one device holds and what was measured on it; sizes in bytes."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.capacity = _capacity(device)
        self.weights = 0
        """In use between requests, once the model is loaded."""
        self.peaks: dict[Shape, int] = {}
        """What a lone request of a shape took beyond that."""

    @contextlib.contextmanager
    def measured(self, shape: Shape) -> Iterator[None]:
        """Measure what happens inside as a request of this shape."""
        self._forget_peak()
        self.weights = before = self._in_use()
        yield
        self.peaks[shape] = max(0, self._peak() - before)

    def check(self, shape: Shape) -> None:
        """Raises `Unsupported` for a shape that does not fit, with the numbers."""
        needed = peak_of(self.peaks, shape)
        if self.weights + needed <= self.capacity:
            return
        width, height, frames = shape
        raise Unsupported(
            "the request does not fit into memory",
            where="frames" if frames > 1 else "width",
            found=f"{width}x{height} pixels in {frames} frames take {in_mib(needed)} beside {in_mib(self.weights)} in use, "
            f"of {in_mib(self.capacity)}",
            fix="Ask for fewer pixels or frames, or serve the model with more memory",
        )

    def _in_use(self) -> int:
        if self._device.type == "cuda":
            return torch.cuda.memory_allocated(self._device)
        return _status("VmRSS")

    def _peak(self) -> int:
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        return _status("VmHWM")

    def _forget_peak(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            return
        with contextlib.suppress(
            AttributeError, OSError
        ):  # glibc alone: what it keeps of earlier shapes would hide these
            ctypes.CDLL(None).malloc_trim(0)
        with contextlib.suppress(OSError):  # a sandbox may not allow it: peaks are then those since the start
            Path("/proc/self/clear_refs").write_text("5")


def _capacity(device: torch.device) -> int:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device)
    limits = [_limit(path) for path in GROUP_LIMITS]
    return min([limit for limit in limits if limit] + [_meminfo("MemTotal")])


def _limit(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None  # "max" in cgroup v2


def _status(field: str) -> int:
    return _field(Path("/proc/self/status"), field)


def _meminfo(field: str) -> int:
    return _field(Path("/proc/meminfo"), field)


def _field(path: Path, field: str) -> int:
    """A line such as `VmRSS:  1234 kB`, in bytes."""
    line = next(line for line in path.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024
