"""`easel explain`: who would make a job of a class, at what price, and why no other would. Nothing is asked of anybody."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

from rich import box
from rich.console import Console
from rich.table import Table

from easel_api.errors import ExitCode, NotFound
from easel_api.generationclass import ProviderBackend
from easel_api.generationjob import GenerationJob
from easel_api.modeldeployment import ModelDeployment
from easel_api.offers import in_words
from easel_inference.jobs.items import expand
from easel_inference.routing.classes import Account, account_of, allowed_by, backends_of, request_of
from easel_inference.routing.plan import Candidate, Plan, plan

from .manifests import Documents, load


def explain(files: Sequence[str]) -> ExitCode:
    """A table for each job of a class; exit code 1 when one of them has nobody who could make it."""
    documents = load(files, for_cluster=True)
    jobs = [job for job in documents.jobs if job.spec.generation_class_name]
    if not jobs:
        raise NotFound(
            "there is no GenerationJob with a generationClassName", where=", ".join(files), fix="Add one, and its class"
        )
    console = Console()
    made = [_explain(job, documents, console) for job in jobs]
    return ExitCode.DONE if all(each.candidates for each in made) else ExitCode.JOB_FAILED


def _explain(job: GenerationJob, documents: Documents, console: Console) -> Plan:
    spec = documents.class_of(job)
    items = expand(job.spec)
    namespace = job.metadata.namespace or ""
    accounts = {
        each.provider.named_in(namespace): _account(each.provider, namespace, documents)
        for each in spec.backends
        if each.provider
    }
    own = {name: _unfit(job, model) for name, model in documents.models.items()}
    request = request_of(job.spec, max(len(item.request.prompt) for item in items))
    made = plan(
        request,
        backends_of(spec, own, accounts, namespace),
        spec.policy,
        datetime.now(UTC).date(),
        allowed_by(spec.allow),
    )
    budget = job.spec.budget.max if job.spec.budget else spec.defaults.budget
    console.print(
        f"[bold]{job.metadata.name}[/]: {len(items)} × {job.spec.task.value} by class {job.spec.generation_class_name}, {spec.policy.value}"
    )
    console.print(_table(made, len(items)))
    console.print(_verdict(made, len(items), budget))
    for name in accounts:
        if "." in name and any(each.name.startswith(f"{name}/") for each in made.candidates):
            console.print(
                f"{name} is for jobs whose namespace its namespaceSelector selects; that is for the cluster to say."
            )
    return made


def _account(named: ProviderBackend, namespace: str, documents: Documents) -> Account | str:
    """The Provider that a class names, or why a job of this namespace may not use it. Labels of Namespaces are in no file."""
    provider = documents.provider_of(named, namespace)
    if provider is None:
        return "there is no such Provider"
    if named.namespace not in (None, namespace) and provider.spec.namespace_selector is None:
        theirs = f"namespace {namespace}" if namespace else "the job's namespace"
        return f"its namespaceSelector does not select {theirs}"
    return account_of(provider.spec)


def _unfit(job: GenerationJob, model: ModelDeployment) -> str:
    """Why a ModelDeployment cannot; empty when it can, or while only its engine can tell."""
    known = model.spec.known_tasks()
    if known is not None and job.spec.task not in known:
        return f"task: does {', '.join(sorted(known))}"
    lacking = sorted({use.name for use in job.spec.adapters} - model.spec.usable_adapters())
    return f"adapters: lacks {', '.join(lacking)}" if lacking else ""


def _table(made: Plan, items: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("", "backend", "each", "all", "what it makes of it"):
        table.add_column(name, overflow="fold")
    for number, each in enumerate(made.candidates, 1):
        table.add_row(str(number), each.name, _money(each.price), _money(each.price, items), _losses(each))
    for refused in made.refused:
        table.add_row("—", refused.name, "", "", refused.reason, style="dim")
    return table


def _money(price: Decimal | None, count: int = 1) -> str:
    if price is None:
        return "unknown"
    return "own" if price == 0 else f"${in_words(price * count)}"


def _losses(candidate: Candidate) -> str:
    if candidate.own:
        return "as asked"
    told = [f"{each.field}: {each.resolved or 'left out'}" for each in candidate.resolved.losses]
    return "; ".join(told) or "as asked"


def _verdict(made: Plan, items: int, budget: Decimal | None) -> str:
    if not made.candidates:
        return "Nobody can make it: see the reasons above."
    first = made.candidates[0]
    others = (
        f"; the next is taken when the class's fallback says so, {made.candidates[1].name} first"
        if made.candidates[1:]
        else ""
    )
    if not first.price or budget is None:
        limit = "" if budget is None else f" A provider gets ${in_words(budget)} at most."
        return f"{first.name} makes it{others}.{limit}"
    enough = int(budget / first.price)
    if enough >= items:
        return f"{first.name} makes it{others}. The budget of ${in_words(budget)} is enough."
    return f"{first.name} makes {enough} of {items}{others}. The budget of ${in_words(budget)} is not enough for more."
