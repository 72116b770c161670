"""Who may do what: as little as works, and nothing that could be turned into more."""

from __future__ import annotations

import pytest
from easel_installed.chart import Helm, Manifest

from easel_operator.core import permissions

VALUES: Manifest = {"crds": {"install": False}, "namespaces": ["art", "studio"]}

# Each is a way to more power than the role says: reading credentials, granting oneself more, acting as another, running
# something in someone else's pod.
NEVER_RESOURCES = {
    "secrets",
    "pods/exec",
    "pods/attach",
    "pods/portforward",
    "serviceaccounts/token",
    "nodes/proxy",
    "*",
}
NEVER_VERBS = {"*", "escalate", "bind", "impersonate"}


@pytest.fixture(scope="module")
def rendered(helm: Helm) -> list[Manifest]:
    return helm.render("easel-system", VALUES)


@pytest.fixture(scope="module")
def sharing(helm: Helm) -> list[Manifest]:
    """Where namespaces may use each other's Providers."""
    return helm.render("easel-system", VALUES | {"providers": {"acrossNamespaces": True}})


def roles(rendered: list[Manifest]) -> list[Manifest]:
    return [document for document in rendered if document["kind"] in ("Role", "ClusterRole")]


def triples(role: Manifest) -> set[tuple[str, str, str]]:
    """A role's rules as (group, resource, verb)."""
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_no_role_can_be_turned_into_more(rendered: list[Manifest]) -> None:
    granted = {triple for role in roles(rendered) for triple in triples(role)}
    assert granted
    assert not {triple for triple in granted if triple[1] in NEVER_RESOURCES or triple[2] in NEVER_VERBS}
    assert not {triple for triple in granted if triple[0] in ("*", "rbac.authorization.k8s.io")}


def test_who_may_share_providers_grants_no_more_than_it_has(sharing: list[Manifest]) -> None:
    """The API server refuses a Role with more than its writer has, unless the writer may `escalate`, and a binding to one, unless it may `bind`."""
    granted = {triple for role in roles(sharing) for triple in triples(role)}
    assert not {triple for triple in granted if triple[1] in NEVER_RESOURCES or triple[2] in NEVER_VERBS}
    writes = {(resource, verb) for group, resource, verb in granted if group == "rbac.authorization.k8s.io"}
    assert writes == {
        (resource, verb) for rule in permissions.SHARING for resource in rule.resources for verb in rule.verbs
    }
    for role in (role for role in roles(sharing) if role["metadata"]["name"] == "easel-operator"):
        assert triples(role) == declared((*permissions.WATCHED_NAMESPACE, *permissions.SHARING))
    (labels,) = [role for role in roles(sharing) if role["metadata"]["name"] == "easel-operator-namespaces"]
    assert triples(labels) == declared(permissions.SHARING_CLUSTER)
    assert [rule["resourceNames"] for rule in labels["rules"]] == [["art", "studio"]], "of no other namespace"


def declared(rules: tuple[permissions.Permission, ...]) -> set[tuple[str, str, str]]:
    """What the operator's code says it needs, in the same shape."""
    return {(rule.group, resource, verb) for rule in rules for resource in rule.resources for verb in rule.verbs}


def test_the_operator_may_do_exactly_what_its_code_says(rendered: list[Manifest]) -> None:
    operators = [role for role in roles(rendered) if role["metadata"]["name"] == "easel-operator"]
    assert [role["metadata"]["namespace"] for role in operators] == ["art", "studio"]
    for role in operators:
        assert triples(role) == declared(permissions.WATCHED_NAMESPACE)
    (classes,) = [role for role in roles(rendered) if role["metadata"]["name"] == "easel-operator-classes"]
    assert triples(classes) == declared(permissions.CLUSTER)
    (lease,) = [role for role in roles(rendered) if role["metadata"]["name"] == "easel-operator-lease"]
    assert triples(lease) == declared(permissions.LEASE_NAMESPACE)
    by_name = [rule for rule in lease["rules"] if rule["verbs"] != ["create"]]
    assert [rule["resourceNames"] for rule in by_name] == [["easel-operator"]]


def test_the_operator_is_bound_in_the_watched_namespaces_alone(rendered: list[Manifest]) -> None:
    bindings = {
        (document["metadata"]["namespace"], document["roleRef"]["kind"], document["roleRef"]["name"])
        for document in rendered
        if document["kind"] == "RoleBinding" and document["subjects"][0]["name"] == "easel-operator"
    }
    assert bindings == {
        ("art", "Role", "easel-operator"),
        ("studio", "Role", "easel-operator"),
        ("easel-system", "Role", "easel-operator-lease"),
    }


def test_a_worker_reads_its_job_and_reports_on_it(rendered: list[Manifest]) -> None:
    workers = [role for role in roles(rendered) if role["metadata"]["name"] == "easel-worker"]
    assert [role["metadata"]["namespace"] for role in workers] == ["art", "studio"]
    for role in workers:
        assert triples(role) == {
            ("easel.dev", "generationjobs", "get"),
            ("easel.dev", "generationjobs/status", "patch"),
            # What its class's accounts offer, and their ledgers.
            ("easel.dev", "providers", "get"),
            ("easel.dev", "providers/status", "patch"),
        }


def test_runtimes_hold_no_token(rendered: list[Manifest]) -> None:
    accounts = {
        document["metadata"]["namespace"]: document
        for document in rendered
        if document["kind"] == "ServiceAccount" and document["metadata"]["name"] == "easel-runtime"
    }
    assert set(accounts) == {"art", "studio"}
    assert all(account["automountServiceAccountToken"] is False for account in accounts.values())
    bound = {subject["name"] for doc in rendered if doc["kind"].endswith("RoleBinding") for subject in doc["subjects"]}
    assert "easel-runtime" not in bound
