"""`easel explain`: who would make a job of a class, at what price, and why no other would. Nothing is asked of anybody."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime

from rich import box
from rich.console import Console
from rich.table import Table

from easel_api.errors import ExitCode, NotFound
from easel_api.generationclass import ProviderBackend
from easel_api.generationjob import GenerationJob
from easel_api.modeldeployment import ModelDeployment
from easel_api.offers import in_words
from easel_api.tasks import OWN, TAKES
from easel_inference.jobs.items import expand
from easel_inference.routing.classes import Account, account_of, allowed_by, backends_of, budget_of, request_of
from easel_inference.routing.plan import Candidate, Plan, plan

from .forecast import forecast, insights, own_models
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
    budget = budget_of(job.spec, spec)
    made = plan(
        request,
        backends_of(spec, own, accounts, namespace),
        spec.policy,
        datetime.now(UTC).date(),
        allowed_by(spec.allow, budgeted=budget is not None),
    )
    console.print(
        f"[bold]{job.metadata.name}[/]: {len(items)} × {job.spec.task.value} by class {job.spec.generation_class_name}, {spec.policy.value}"
    )
    console.print(_table(made, len(items), own_models(made, spec)))
    for line in forecast(made, len(items), budget, spec):
        console.print(line)
    for entry in spec.backends:
        provider = documents.provider_of(entry.provider, namespace) if entry.provider else None
        eyes, name = provider and provider.spec.video_indexer, entry.provider and entry.provider.named_in(namespace)
        if eyes and name and TAKES[job.spec.task].video:
            for line in insights(name, eyes, made, len(items), budget):
                console.print(line)
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
    if not model.spec.may_do(job.spec.task):
        return f"task: does {', '.join(sorted(model.spec.known_tasks() or OWN))}"
    lacking = sorted({use.name for use in job.spec.adapters} - model.spec.usable_adapters())
    return f"adapters: lacks {', '.join(lacking)}" if lacking else ""


def _table(made: Plan, items: int, own: Sequence[str]) -> Table:
    """`own` are the own models that could make it, of which the job is given one."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("", "backend", "each", "all", "what it makes of it"):
        table.add_column(name, overflow="fold")
    numbers = itertools.count(1)
    for each in made.candidates:
        instead = each.name in own[1:]
        number, makes = ("", f"in place of {own[0]}") if instead else (str(next(numbers)), _losses(each))
        table.add_row(number, each.name, _money(each), _money(each, items), makes)
    for name, reason in made.refused.items():
        table.add_row("—", name, "", "", reason, style="dim")
    return table


def _money(candidate: Candidate, count: int = 1) -> str:
    if candidate.price is None:
        return "unknown"
    return "own" if candidate.own else f"${in_words(candidate.price * count)}"


def _losses(candidate: Candidate) -> str:
    if candidate.own:
        return "as asked"
    told = [f"{each.field}: {each.resolved or 'left out'}" for each in candidate.resolved.losses]
    return "; ".join(told) or "as asked"
