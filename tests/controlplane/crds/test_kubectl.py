"""What a person at a terminal sees of Easel's kinds, by the real kubectl."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from api_manifests import MATCHING, Manifest, edited, job, model, provider

from easel_api.generationjob import MAX_ITEMS, GenerationJobStatus
from easel_api.modeldeployment import ModelDeploymentStatus
from easel_api.provider import ProviderStatus
from easel_api.schema import Schema, json_schema

if TYPE_CHECKING:
    from easel_cluster.apionly import ApiServer

    from conftest import Objects

pytestmark = pytest.mark.apiserver

CONDITION = {"type": "Ready", "status": "False", "reason": "Generating", "lastTransitionTime": "2026-01-01T00:00:00Z"}
RUNNING = {
    "phase": "Running",
    "done": "12/16",
    "backend": {"modelDeployment": "studio-mini", "selectedReason": "First"},
    "conditions": [CONDITION],
    "backends": [{"name": "west/core", "items": 9}, {"name": "studio-mini", "items": 3}],
}
SERVING = {
    "conditions": [CONDITION | {"status": "True", "reason": "Serving"}],
    "replicas": {"desired": 2, "ready": 1},
    "model": {"digest": "sha256:0a"},
}


WAITING = edited(job(), "metadata.name", "waiting")

Run = Callable[..., str]


@pytest.fixture
def kubectl(installed: ApiServer, objects: Objects) -> Iterator[Run]:
    """kubectl in a namespace with a running job, a job that nobody has seen yet, their model, and a provider."""
    made = (job(), WAITING, model(), provider())
    for manifest in made:
        objects.keep(manifest)
    objects.report(job(), RUNNING)
    objects.report(model(), SERVING)
    yield functools.partial(installed.kubectl, "--namespace", "contract")
    for manifest in made:
        objects.drop(manifest)


def table(text: str) -> tuple[list[str], dict[str, dict[str, str]]]:
    """The header of a listing, and its rows by name."""
    head, *lines = text.splitlines()
    columns = head.split()
    starts = [head.index(column) for column in columns]
    ends = [*starts[1:], None]
    cells = [[line[start:end].strip() for start, end in zip(starts, ends, strict=True)] for line in lines]
    rows = [dict(zip(columns, row, strict=True)) for row in cells]
    return columns, {row["NAME"]: row for row in rows}


def test_jobs_are_listed_with_phase_progress_and_backend(kubectl: Run) -> None:
    columns, rows = table(kubectl("get", "gen"))
    assert columns == ["NAME", "TASK", "PHASE", "DONE", "BACKEND", "COST", "AGE"]
    mugs = {"NAME": "mugs", "TASK": "text-to-image", "PHASE": "Running", "DONE": "12/16", "BACKEND": "studio-mini"}
    assert {column: rows["mugs"][column] for column in mugs} == mugs
    assert rows["waiting"]["PHASE"] == ""


def test_the_wide_listing_says_who_made_most_and_why_it_is_not_ready(kubectl: Run) -> None:
    columns, rows = table(kubectl("get", "gen", "-o", "wide"))
    assert "REASON" in columns
    assert (rows["mugs"]["REASON"], rows["mugs"]["MAKER"]) == ("Generating", "west/core")


def test_models_are_listed_with_readiness_and_replicas(kubectl: Run) -> None:
    columns, rows = table(kubectl("get", "mdep"))
    assert columns == ["NAME", "MODEL", "READY", "REASON", "REPLICAS", "AGE"]
    row = rows["studio-mini"]
    assert (row["MODEL"], row["READY"], row["REASON"], row["REPLICAS"]) == (
        "builtin://miniature",
        "True",
        "Serving",
        "1",
    )


@pytest.mark.parametrize("name", ["gen", "generationjob", "generationjobs", "generationjobs.easel.dev"])
def test_a_job_answers_to_its_names(kubectl: Run, name: str) -> None:
    assert kubectl("get", name, "mugs", "-o", "name") == "generationjob.easel.dev/mugs\n"


def test_the_category_lists_every_kind(kubectl: Run) -> None:
    assert set(kubectl("get", "easel", "-o", "name").split()) == {
        "generationjob.easel.dev/mugs",
        "generationjob.easel.dev/waiting",
        "modeldeployment.easel.dev/studio-mini",
        "provider.easel.dev/bedrock-west",
    }


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("status.phase=Running", {"mugs"}),
        ("status.phase!=Running", {"waiting"}),
        ("spec.task=text-to-image", {"mugs", "waiting"}),
        ("spec.task=inpaint", set()),
    ],
)
def test_jobs_are_selected_by_field(kubectl: Run, selector: str, names: set[str]) -> None:
    found = kubectl("get", "gen", "--field-selector", selector, "-o", "name").split()
    assert found == [f"generationjob.easel.dev/{name}" for name in sorted(names)]


def test_models_are_selected_by_their_source(kubectl: Run) -> None:
    found = kubectl("get", "mdep", "--field-selector", "spec.model.source=builtin://miniature", "-o", "name")
    assert found.split() == ["modeldeployment.easel.dev/studio-mini"]


def test_a_person_can_wait_for_a_condition(kubectl: Run) -> None:
    complete = json.dumps({"status": {"conditions": [CONDITION | {"type": "Complete", "status": "True"}]}})
    kubectl("patch", "gen/mugs", "--subresource=status", "--type=merge", "-p", complete)
    assert "condition met" in kubectl("wait", "--for=condition=Complete", "gen/mugs", "--timeout=60s")


def test_a_model_without_replicas_can_be_scaled(kubectl: Run) -> None:
    url = "/apis/easel.dev/v1alpha1/namespaces/contract/modeldeployments/studio-mini/scale"
    scale = json.loads(kubectl("get", "--raw", url))
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (1, 1)
    kubectl("scale", "mdep/studio-mini", "--replicas=0")
    assert kubectl("get", "mdep/studio-mini", "-o", "jsonpath={.spec.replicas}") == "0"


def test_nothing_but_the_scale_is_filled_in(kubectl: Run) -> None:
    assert json.loads(kubectl("get", "gen/mugs", "-o", "json"))["spec"] == job()["spec"]
    assert json.loads(kubectl("get", "mdep/studio-mini", "-o", "json"))["spec"] == model(replicas=1)["spec"]


def test_the_spec_and_the_status_are_written_apart(kubectl: Run) -> None:
    kubectl("patch", "gen/mugs", "--subresource=status", "--type=merge", "-p", '{"spec":{"suspend":true}}')
    kubectl("patch", "gen/mugs", "--type=merge", "-p", '{"status":{"done":"0/1"}}')
    stored = json.loads(kubectl("get", "gen/mugs", "-o", "json"))
    assert "suspend" not in stored["spec"]
    assert stored["status"]["done"] == "12/16"


def test_two_writers_share_a_status(kubectl: Run) -> None:
    def write(manager: str, status: Manifest) -> None:
        manifest = {key: job()[key] for key in ("apiVersion", "kind", "metadata")} | {"status": status}
        arguments = ("apply", "--server-side", "--subresource=status", f"--field-manager={manager}", "-f", "-")
        kubectl(*arguments, stdin=json.dumps(manifest | {"metadata": {"name": "waiting"}}))

    write("easel-operator", {"phase": "Running", "conditions": [CONDITION]})
    write("easel-worker", {"done": "1/2", "items": {"total": 2}})
    write("easel-operator", {"conditions": [CONDITION | {"type": "Reconciling"}]})
    status = json.loads(kubectl("get", "gen/waiting", "-o", "json"))["status"]
    assert ("phase" in status, status["done"], [each["type"] for each in status["conditions"]]) == (
        False,
        "1/2",
        ["Reconciling"],
    )


@pytest.mark.parametrize(
    ("manifest", "status"),
    [(job(), GenerationJobStatus), (model(), ModelDeploymentStatus), (provider(), ProviderStatus)],
)
def test_every_field_of_a_status_is_kept(kubectl: Run, manifest: Manifest, status: type[Any]) -> None:
    full = _filled(json_schema(status))
    name = f"{manifest['kind']}/{manifest['metadata']['name']}"
    kubectl("patch", name, "--subresource=status", "--type=merge", "-p", json.dumps({"status": full}))
    stored = json.loads(kubectl("get", name, "-o", "json"))["status"]
    assert stored == full
    assert status.model_validate(stored).to_manifest() == full


def test_explain_tells_units_ranges_and_defaults(installed: ApiServer) -> None:
    explained = " ".join(installed.kubectl("explain", "generationjob.spec.parameters").split())
    assert "Denoising steps. 1 to 200. Default: 20." in explained
    assert (
        "Width in pixels. Default: the model's own, or the input's as expand and scale let it grow. 64 to 4096, a multiple of 8."
        in explained
    )


def test_explain_lists_the_whole_spec(installed: ApiServer) -> None:
    explained = installed.kubectl("explain", "generationjob.spec", "--recursive")
    assert "task\t<string> -required-" in explained
    assert "prompts\t<[]Object>\n" in explained
    assert "enum: AllOrNothing, KeepPartial" in explained
    assert "matrix\t<map[string][]string>" in explained
    assert f"at most {MAX_ITEMS} items" in " ".join(installed.kubectl("explain", "gen.spec.matrix").split())


def _filled(schema: Schema) -> Any:
    """Some value for every field."""
    if "enum" in schema or "const" in schema:
        return schema["enum"][0] if "enum" in schema else schema["const"]
    match schema["type"]:
        case "object":
            return {name: _filled(child) for name, child in schema["properties"].items()}
        case "array":
            return [_filled(schema["items"])]
        case "string":
            return MATCHING[schema["pattern"]][-1] if "pattern" in schema else "x"
        case "boolean":
            return True
        case _:
            return 1
