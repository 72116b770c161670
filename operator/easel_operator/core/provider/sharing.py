"""What lets the workers of other namespaces pay by a Provider: a Role on this one, and who has it.

The operator may write both since it grants no more than it has itself. A worker reads the Provider and writes its ledger; it sees
nothing else of the namespace, and no Secret.
"""

from __future__ import annotations

from typing import Any

from easel_api import GROUP
from easel_operator.core import labels
from easel_operator.core.actions import Action, Apply, Delete, Manifest
from easel_operator.core.configuration import Configuration
from easel_operator.core.manifests import matches, sealed
from easel_operator.core.observed import Identity, ProviderView
from easel_operator.core.podtemplates import owner_reference
from easel_operator.core.resources import PROVIDERS, ROLE_BINDINGS, ROLES, SHARING_KINDS, Reference


def name_of(provider: str) -> str:
    """Of the Role and the RoleBinding."""
    return f"easel-provider-{provider}"


def role(owner: Identity) -> Manifest:
    """Renders the Role: this Provider and its status, and no other."""
    rules = [
        {"apiGroups": [GROUP], "resources": [resource], "resourceNames": [owner.name], "verbs": [verb]}
        for resource, verb in ((PROVIDERS.plural, "get"), (f"{PROVIDERS.plural}/status", "patch"))
    ]
    return Manifest(
        ROLES, {"apiVersion": ROLES.api_version, "kind": ROLES.kind, "metadata": _metadata(owner), "rules": rules}
    )


def role_binding(owner: Identity, users: tuple[str, ...], configuration: Configuration) -> Manifest:
    """Renders the RoleBinding: workers of these namespaces."""
    return Manifest(
        ROLE_BINDINGS,
        {
            "apiVersion": ROLE_BINDINGS.api_version,
            "kind": ROLE_BINDINGS.kind,
            "metadata": _metadata(owner),
            "roleRef": {"apiGroup": ROLES.group, "kind": ROLES.kind, "name": name_of(owner.name)},
            "subjects": [
                {"kind": "ServiceAccount", "name": configuration.worker_service_account, "namespace": namespace}
                for namespace in users
            ],
        },
    )


def shared(view: ProviderView, configuration: Configuration) -> tuple[Action, ...]:
    """What is left to do for, or against, the use by others; the Role goes last, and comes first."""
    if not view.users:
        return tuple(
            Delete(Reference(resource, view.identity.namespace, child.name), child.uid)
            for resource in reversed(SHARING_KINDS)
            if (child := view.children.get(resource.kind))
            and child.owner_uid == view.identity.uid
            and not child.deleting
        )
    wanted = (role(view.identity), role_binding(view.identity, view.users, configuration))
    return tuple(filter(None, (_change(view, sealed(each)) for each in wanted)))


def _change(view: ProviderView, manifest: Manifest) -> Apply | None:
    child = view.children.get(manifest.resource.kind)
    if child is None or child.owner_uid != view.identity.uid:
        return Apply(manifest)
    same = child.rendered_hash == manifest.body["metadata"]["annotations"][labels.RENDERED]
    return None if same and matches(child.body, manifest.body) else Apply(manifest, child.resource_version)


def _metadata(owner: Identity) -> dict[str, Any]:
    return {
        "name": name_of(owner.name),
        "namespace": owner.namespace,
        "labels": labels.of_provider(owner.name),
        "ownerReferences": [owner_reference(PROVIDERS.api_version, PROVIDERS.kind, owner.name, owner.uid)],
    }
