"""The images that the shipped Dockerfile makes run as the platform's policies want them to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from easel_cluster import images
from easel_cluster.cluster import Cluster
from web_workload import RESTRICTED

pytestmark = pytest.mark.cluster

NAMESPACE = "easel-images-test"

LOOK = """
import getpass, importlib.util, json, os, pathlib, shutil, sys

def can_write(path):
    try:
        pathlib.Path(path, "probe").write_text("x")
    except OSError:
        return False
    return True

print(json.dumps({
    "ids": [os.getuid(), os.getgid()],
    "user": getpass.getuser(),
    "writable": [path for path in ("/", "/opt/easel", "/opt/easel/app", "/tmp") if can_write(path)],
    "packages": [name for name in ("easel_api", "easel_operator", "easel_inference", "torch", "pip", "pytest") if importlib.util.find_spec(name)],
    "tritonserver": shutil.which("tritonserver"),
    "app": sorted(path.name for path in pathlib.Path("/opt/easel/app").iterdir()),
    "uncompiled": [str(path) for path in pathlib.Path("/opt/easel/app").rglob("*.py") if not list(path.parent.glob(f"__pycache__/{path.stem}.*.pyc"))],
    "settings": [path for path in ("/etc/pip.conf", "/tmp/requirements.txt") if pathlib.Path(path).exists() and pathlib.Path(path).stat().st_size],
}))
"""


@pytest.fixture(scope="module")
def loaded(cluster: Cluster, progress: Callable[[str], None]) -> Iterator[Cluster]:
    images.build_and_load(cluster, report=progress)
    cluster.kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        }
    )
    yield cluster
    cluster.kubectl("delete", "namespace", NAMESPACE, "--wait", "--timeout=90s")


def inside(cluster: Cluster, target: str, *command: str) -> str:
    """What a command prints in a pod of the image, under the strictest policy."""
    container = {
        "name": target,
        "image": images.image_name(target),
        "imagePullPolicy": "IfNotPresent",
        "securityContext": RESTRICTED,
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    } | ({"command": list(command)} if command else {})
    spec = {"containers": [container], "restartPolicy": "Never", "volumes": [{"name": "tmp", "emptyDir": {}}]}
    metadata = {"generateName": f"{target}-", "namespace": NAMESPACE}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    name = cluster.kubectl("create", "-o", "name", "-f", "-", stdin=json.dumps(pod)).strip()
    where = f"--namespace={NAMESPACE}"
    cluster.kubectl(
        "wait", "--for=jsonpath={.status.containerStatuses[0].state.terminated}", name, where, "--timeout=90s"
    )
    return cluster.kubectl("logs", name, where)


def test_the_operator_image_is_small_in_rights_and_has_no_torch(loaded: Cluster) -> None:
    seen = json.loads(inside(loaded, "operator", "python", "-c", LOOK))
    assert seen["ids"] == [65532, 65532]
    assert seen["user"] == "easel"
    assert seen["writable"] == ["/tmp"]
    assert seen["packages"] == ["easel_api", "easel_operator", "easel_inference"]
    assert seen["app"] == ["easel_api", "easel_inference", "easel_operator"]
    assert seen["uncompiled"] == []
    assert seen["settings"] == []


def test_the_runtime_image_has_triton_and_the_engine(loaded: Cluster) -> None:
    seen = json.loads(inside(loaded, "runtime", "python", "-c", LOOK))
    assert seen["ids"] == [65532, 65532]
    assert seen["writable"] == ["/tmp"]
    assert seen["packages"] == ["easel_api", "easel_operator", "easel_inference", "torch"]
    assert seen["tritonserver"] == "/opt/tritonserver/bin/tritonserver"
    assert seen["settings"] == []


def test_each_image_starts_its_own_program(loaded: Cluster) -> None:
    # Neither has what it needs to go on, and each says so itself, without a traceback.
    assert "EASEL_MODEL_DEPLOYMENT" in (said := inside(loaded, "runtime"))
    assert "Traceback" not in said
    assert "Traceback" not in inside(loaded, "operator", "python", "-m", "easel_operator", "--help")


def test_what_is_loaded_already_is_not_loaded_again(loaded: Cluster) -> None:
    said: list[str] = []
    images.build_and_load(loaded, ["operator"], said.append)
    again: list[str] = []
    images.build_and_load(loaded, ["operator"], again.append)
    assert not [line for line in again if line.startswith("loading")], (said, again)


def test_an_image_that_lost_its_name_to_a_newer_one_is_dropped(loaded: Cluster) -> None:
    listed = [line.split() for line in loaded.ctr("images", "list").splitlines()[1:]]
    named = {row[2] for row in listed if not row[0].startswith("sha256:")}
    assert {row[2] for row in listed} == named
