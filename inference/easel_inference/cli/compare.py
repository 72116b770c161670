"""`easel compare`: who can do a task, at what price, and for how long still."""

from __future__ import annotations

from datetime import UTC, datetime

from rich import box
from rich.console import Console
from rich.table import Table

from easel_api.errors import ExitCode, InvalidInput
from easel_api.tasks import Task
from easel_inference.catalog.loading import surfaces
from easel_inference.catalog.table import lines


def compare(task: str) -> ExitCode:
    """Prints the catalogue's rows of a task; `InvalidInput` when there is no such task."""
    try:
        wanted = Task(task)
    except ValueError:
        known = ", ".join(Task)
        raise InvalidInput("there is no such task", where="--task", found=task, fix=f"Use one of {known}") from None
    found = lines(surfaces(), datetime.now(UTC).date(), wanted)
    console = Console()
    if not found:
        console.print(f"No provider of the catalogue does {wanted.value}; a ModelDeployment may.")
        return ExitCode.DONE
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("provider", "model", "price", "sizes and lengths", "heeds", "state"):
        shown.add_column(name, overflow="fold")
    for line in found:
        shown.add_row(line.surface, line.model, line.prices, line.sizes, line.honours, line.state)
    console.print(shown)
    return ExitCode.DONE
