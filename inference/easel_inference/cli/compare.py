"""`easel compare`: who can do a task, at what price, and for how long still. Of the catalogue, or of the backends in some files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime

from rich import box
from rich.console import Console
from rich.table import Table

from easel_api.errors import ExitCode, InvalidInput, NotFound
from easel_api.modeldeployment import ModelDeployment
from easel_api.offers import Offer, State, why_unknown
from easel_api.provider import Provider
from easel_api.tasks import Task
from easel_inference.catalog.loading import surfaces
from easel_inference.catalog.merging import offer_of
from easel_inference.catalog.table import Line, lines, lines_of

from .manifests import Documents, load


def compare(task: str, files: Sequence[str] = ()) -> ExitCode:
    """Prints who does a task: the catalogue's rows, with files the backends in them. `InvalidInput` when there is no such task."""
    try:
        wanted = Task(task)
    except ValueError:
        known = ", ".join(Task)
        raise InvalidInput("there is no such task", where="--task", found=task, fix=f"Use one of {known}") from None
    today, console = datetime.now(UTC).date(), Console()
    if files:
        documents = load(files, for_cluster=True)
        if not documents.providers and not documents.models:
            raise NotFound("there is no Provider and no ModelDeployment", where=", ".join(files), fix="Add one")
        found, nobody = configured(documents, wanted, today), f"No backend in the files does {wanted.value}."
    else:
        found = lines(surfaces(), today, wanted)
        nobody = f"No provider of the catalogue does {wanted.value}; a ModelDeployment may."
    console.print(_table(found) if found else nobody)
    return ExitCode.DONE


def configured(documents: Documents, task: Task, today: date) -> list[Line]:
    """The team's own models that do a task, then what Providers offer for it; behind them what may, and what cannot be had."""
    own = [_own(name, model, task) for name, model in documents.models.items()]
    offers: list[tuple[str, Offer]] = []
    nowhere: dict[tuple[str, str], str] = {}
    unknown: list[Line] = []
    for name, provider in _named(documents.providers):
        for model in (each.model for each in provider.spec.offers):
            offer = offer_of(provider.spec, model)
            if offer is None:
                unknown.append(_bare(name, model, f"unusable: it {why_unknown(provider.spec.family)}"))
            else:
                offers.append((name, offer))
                nowhere[name, model] = _elsewhere(provider, offer)
    made = lines_of(offers, today, task)
    served = [line for line in made if not nowhere[line.surface, line.model]]
    elsewhere = [replace(line, state=told) for line in made if (told := nowhere[line.surface, line.model])]
    # Of one that was retired before it was read nobody knows what it did: the Provider offers it all the same.
    gone = [each for each in offers if not each[1].tasks and each[1].state(today) is State.RETIRED]
    return [*filter(None, own), *served, *elsewhere, *lines_of(gone, today), *unknown]


def _named(providers: Sequence[Provider]) -> Iterator[tuple[str, Provider]]:
    """As a job of another namespace calls them, where two have one name."""
    count = Counter(each.metadata.name for each in providers)
    for each in providers:
        name, home = each.metadata.name, each.metadata.namespace
        yield f"{name}.{home}" if home and count[name] > 1 else name, each


def _elsewhere(provider: Provider, offer: Offer) -> str:
    """Why the Provider's region has it not; empty when it has, or where no regions are known."""
    region = provider.spec.region or ""
    if not offer.regions or region in offer.regions:
        return ""
    return f"not in {region or 'a region that is not named'}: served in {', '.join(offer.regions)}"


def _own(name: str, model: ModelDeployment, task: Task) -> Line | None:
    known = model.spec.known_tasks()
    if known is not None and task not in known:
        return None
    state = "" if known is not None else f"its engine alone can tell whether it does {task.value}"
    return replace(_bare("own", name, state), prices="own", sizes="its engine's", honours="its engine's")


def _bare(surface: str, model: str, state: str) -> Line:
    """Of one that no catalogue tells anything of."""
    return Line(surface=surface, model=model, state=state, tasks="", sizes="", honours="", prices="")


def _table(found: Sequence[Line]) -> Table:
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("provider", "model", "price", "sizes and lengths", "heeds", "state"):
        shown.add_column(name, overflow="fold")
    for line in found:
        shown.add_row(line.surface, line.model, line.prices, line.sizes, line.honours, line.state)
    return shown
