"""The operator's configuration file, as a value. The platform writes it (chart values); no user can."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

PullPolicy = Literal["Always", "IfNotPresent", "Never"]


class _Section(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class RuntimeProfile(_Section):
    """Images and placement of a model's pods, chosen by name in `ModelDeployment.spec.runtimeProfile`."""

    image: str
    image_pull_policy: PullPolicy = "IfNotPresent"
    node_selector: dict[str, str] = {}
    tolerations: tuple[dict[str, Any], ...] = ()
    runtime_class_name: str = ""
    env: tuple[dict[str, Any], ...] = ()


class PodSelector(_Section):
    """Pods by the labels of their namespace and their own."""

    namespace_labels: dict[str, str] = {}
    pod_labels: dict[str, str] = {}


class LeaseTimes(_Section):
    """Seconds of leader election; the defaults have another process take over within 15 s."""

    duration: Annotated[float, Field(gt=0)] = 12
    """A lease that was not renewed for so long may be taken."""
    renew_deadline: Annotated[float, Field(gt=0)] = 8
    """A leader that could not renew for so long stops; shorter than `duration`, so that two never write at once."""
    retry: Annotated[float, Field(gt=0)] = 2


class WatchTimes(_Section):
    """Seconds that watching works with."""

    audit_interval: Annotated[float, Field(gt=0)] = 60
    """How often what was watched is compared with a listing of versions."""
    audit_grace: Annotated[float, Field(gt=0)] = 15
    """A change that is listed but was not watched for so long makes a watch stale."""
    resync_interval: Annotated[float, Field(gt=0)] = 600
    """How often every object is reconciled though nothing happened."""


class NamespaceAdmission(_Section):
    """How many jobs of a namespace work at once, and its share beside others."""

    max_running_jobs: Annotated[int, Field(ge=1)] | None = None
    """None: no limit."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """One of twice the weight gets twice the GPU-seconds where namespaces compete."""


class Admission(_Section):
    """How many jobs work at once, and in which order they begin."""

    priority_classes: dict[str, Annotated[int, Field(ge=-1000, le=1000)]] = {}
    """What a GenerationJob's `spec.priorityClassName` may name: the higher goes first, and a job that names none has 0."""
    max_running_jobs: Annotated[int, Field(ge=1)] | None = None
    """Over all namespaces; None: no limit."""
    namespaces: dict[str, NamespaceAdmission] = {}
    default: NamespaceAdmission = NamespaceAdmission()
    """Of namespaces that are not named."""
    half_life_seconds: Annotated[float, Field(gt=0)] = 3600
    """After which the GPU-seconds that a namespace was given count half."""

    def priority_of(self, priority_class: str | None) -> int:
        """How a class ranks; 0 without one."""
        return self.priority_classes.get(priority_class or "", 0)

    def of(self, namespace: str) -> NamespaceAdmission:
        """The rules of a namespace."""
        return self.namespaces.get(namespace, self.default)


class Configuration(_Section):
    """Everything that the operator is told."""

    namespaces: Annotated[tuple[str, ...], Field(min_length=1)]
    lease_namespace: str
    lease_name: str = "easel-operator"
    worker_image: str
    worker_image_pull_policy: PullPolicy = "IfNotPresent"
    worker_service_account: str = "easel-worker"
    worker_resources: dict[str, dict[str, str]] = {}
    providers_across_namespaces: bool = False
    """Whether a Provider's `namespaceSelector` is heeded; the operator needs the rights to grant what it takes."""
    runtime_service_account: str = "easel-runtime"
    fetcher_service_account: str = "easel-fetcher"
    runtime_profiles: dict[str, RuntimeProfile]
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 9090
    health_port: Annotated[int, Field(ge=0, le=65535)] = 8081
    operator_pod_selector: PodSelector = PodSelector()
    prometheus_selector: PodSelector = PodSelector()
    prometheus_url: str = ""
    """Where Prometheus answers queries, such as http://prometheus-operated.monitoring.svc:9090; empty: nowhere."""
    concurrency: Annotated[int, Field(ge=1, le=256)] = 32
    """Reconciles at once."""
    requests_per_second: Annotated[float, Field(gt=0)] = 200
    """Requests to the API server, on average; bursts may be twice that. A job takes about seven in its life, and the API server's own
    priority and fairness protects it: this is a guard against a defect of ours."""
    runtime_http_port: Annotated[int, Field(ge=1, le=65535)] = 8080
    admission: Admission = Admission()
    lease_times: LeaseTimes = LeaseTimes()
    watch_times: WatchTimes = WatchTimes()
