"""Where Easel gets installed: the node cluster of this machine, or the cluster of a kubeconfig that a person names.

With `EASEL_KUBECONFIG` nothing is started here; the cluster must find the images and the bucket by itself:

    EASEL_OPERATOR_IMAGE, EASEL_RUNTIME_IMAGE    REPOSITORY:TAG, in a registry that its nodes reach
    EASEL_S3_ENDPOINT, EASEL_S3_BUCKET           reached from here and from its pods by the same address
    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY     keys for the bucket
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from easel_cluster import cluster as launcher
from easel_cluster import images, tools
from easel_cluster.kubectl import Kubectl
from easel_cluster.layout import State, default_state_folder
from easel_cluster.s3 import S3Server
from easel_cluster.tools import Report

from easel_api.errors import EnvironmentFault
from easel_installed.bucket import Bucket
from easel_installed.chart import Helm
from easel_installed.site import STORE_SERVICE, Manifest, Site

NAMESPACE = "art"
BUCKET = "art"
PROMETHEUS_PORT = 7090
"""Where tests that need a Prometheus start one, on this machine's side of the node cluster's link."""
BUILT_OPERATOR, BUILT_RUNTIME = "docker.io/easel/operator:dev", "docker.io/easel/runtime:dev"


def open_site(report: Report = tools.say) -> Site:
    """A site with everything installed, on whichever cluster the environment asks for."""
    given = os.environ.get("EASEL_KUBECONFIG")
    site = site_of(Path(given), os.environ, report) if given else site_on(local_cluster(report), report)
    report("installing the chart")
    site.install()
    return site


def local_cluster(report: Report = tools.say) -> launcher.Cluster:
    """The node cluster of this machine, up and with the images of this checkout."""
    cluster = launcher.up(State(default_state_folder()), report)
    load_images(cluster, report)
    return cluster


def load_images(cluster: launcher.Cluster, report: Report = tools.say) -> None:
    """The images of this checkout; with `EASEL_KEEP_IMAGES` set, those that the node has already."""
    if not os.environ.get("EASEL_KEEP_IMAGES"):
        images.build_and_load(cluster, report=report)


def site_on(cluster: launcher.Cluster, report: Report = tools.say) -> Site:
    """The site of a node cluster; nothing is installed yet."""
    helm = Helm(tools.ensure(["helm"], report)["helm"], cluster.kubeconfig)
    port = cluster.s3.endpoint.rpartition(":")[2]
    bucket = Bucket(cluster.s3, BUCKET, f"http://{STORE_SERVICE}:{port}")
    values = image_values(BUILT_OPERATOR, BUILT_RUNTIME)
    # The tag stays when the code changes, so that nothing else would start a new operator.
    values["monitoring"] = {"prometheus": {"url": f"http://{launcher.HOST_ADDRESS}:{PROMETHEUS_PORT}"}}
    values["operator"] = {"podAnnotations": {"easel.dev/image-digest": loaded_digest(cluster, BUILT_OPERATOR)}}
    return Site(cluster.kubectl, helm, bucket, NAMESPACE, values)


def loaded_digest(cluster: launcher.Cluster, reference: str) -> str:
    """The digest of an image that the node has; empty when it has none of that name."""
    lines = cluster.ctr("images", "list", f"name=={reference}").splitlines()[1:]
    return lines[0].split()[2] if lines else ""


def site_of(kubeconfig: Path, environment: Mapping[str, str], report: Report = tools.say) -> Site:
    """The site of a given cluster; `EnvironmentFault` names what the environment does not say."""
    built = tools.ensure(["kubectl", "helm"], report)

    def need(name: str) -> str:
        if not environment.get(name):
            raise EnvironmentFault(
                "a cluster of your own needs this variable", where=name, fix=(__doc__ or "").split("\n\n", 1)[1]
            )
        return environment[name]

    server = S3Server(need("EASEL_S3_ENDPOINT"), need("AWS_ACCESS_KEY_ID"), need("AWS_SECRET_ACCESS_KEY"))
    values = image_values(need("EASEL_OPERATOR_IMAGE"), need("EASEL_RUNTIME_IMAGE"))
    bucket = Bucket(server, need("EASEL_S3_BUCKET"), server.endpoint)
    return Site(Kubectl(built["kubectl"], kubeconfig), Helm(built["helm"], kubeconfig), bucket, NAMESPACE, values)


def image_values(operator: str, runtime: str) -> Manifest:
    """Two image references as values of the chart."""
    return {"image": image(operator), "runtimeProfiles": {"default": {"image": image(runtime)}}}


def image(reference: str) -> Manifest:
    """An image reference, its tag apart."""
    repository, _, tag = reference.rpartition(":")
    return {"repository": repository, "tag": tag}
