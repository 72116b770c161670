"""The kinds of object that the operator reads and writes, and how to name one of them."""

from __future__ import annotations

from dataclasses import dataclass

from easel_api import GROUP, VERSION


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind as the API server addresses it."""

    group: str
    version: str
    kind: str
    plural: str

    @property
    def api_version(self) -> str:
        """`apiVersion` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version


PROVIDERS = Resource(GROUP, VERSION, "Provider", "providers")
GENERATION_CLASSES = Resource(GROUP, VERSION, "GenerationClass", "generationclasses")
"""Of the whole cluster, so that a reference to one has no namespace."""
MODEL_DEPLOYMENTS = Resource(GROUP, VERSION, "ModelDeployment", "modeldeployments")
GENERATION_JOBS = Resource(GROUP, VERSION, "GenerationJob", "generationjobs")
DEPLOYMENTS = Resource("apps", "v1", "Deployment", "deployments")
JOBS = Resource("batch", "v1", "Job", "jobs")
SERVICES = Resource("", "v1", "Service", "services")
DISRUPTION_BUDGETS = Resource("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
NETWORK_POLICIES = Resource("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies")
PODS = Resource("", "v1", "Pod", "pods")
EVENTS = Resource("", "v1", "Event", "events")
NAMESPACES = Resource("", "v1", "Namespace", "namespaces")
"""Of the whole cluster, too."""
ROLES = Resource("rbac.authorization.k8s.io", "v1", "Role", "roles")
ROLE_BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings")
SCALED_OBJECTS = Resource("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects")
AUTOSCALERS = Resource("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")

OWN_KINDS = (MODEL_DEPLOYMENTS, GENERATION_JOBS, PROVIDERS)
CHILD_KINDS = (DEPLOYMENTS, SERVICES, DISRUPTION_BUDGETS, NETWORK_POLICIES, JOBS, PODS)
SHARING_KINDS = (ROLES, ROLE_BINDINGS)
"""Children of a Provider that other namespaces may use; watched where the platform lets Providers be shared."""


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """The object of ours that a reconcile is about."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"

    @property
    def resource(self) -> Resource:
        """The kind as the API server addresses it."""
        return next(each for each in OWN_KINDS if each.kind == self.kind)


@dataclass(frozen=True, slots=True)
class Reference:
    """Any object in the cluster."""

    resource: Resource
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.resource.kind} {self.namespace}/{self.name}"
