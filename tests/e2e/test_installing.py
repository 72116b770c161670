"""What `helm test` says of an installed chart."""

from __future__ import annotations

import pytest
from easel_installed.site import SYSTEM, Site

from easel_api.errors import BackendFault

pytestmark = pytest.mark.cluster

OPERATOR = "deployment/easel-operator"


def test_helm_test_sees_whether_an_operator_leads(site: Site) -> None:
    assert "Phase:          Succeeded" in site.helm.test(SYSTEM)
    site.kubectl("scale", OPERATOR, "-n", SYSTEM, "--replicas=0")
    try:
        site.kubectl("wait", "--for=delete", "pod", "-l", "app.kubernetes.io/name=easel-operator", "-n", SYSTEM)
        with pytest.raises(BackendFault, match="helm test failed"):
            site.helm.test(SYSTEM)
    finally:
        site.kubectl("scale", OPERATOR, "-n", SYSTEM, "--replicas=1")
        site.kubectl("rollout", "status", OPERATOR, "-n", SYSTEM, "--timeout=120s", timeout=150)
