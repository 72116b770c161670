"""The main job: a manifest goes in, pictures that show what its prompts asked come out."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from easel_cluster.layout import REPOSITORY
from easel_installed.site import OPERATOR, RUNTIME, SYSTEM, WORKER, Site
from easel_installed.waiting import until

pytestmark = pytest.mark.cluster

EXAMPLES = REPOSITORY / "examples" / "cluster"
FOLDER = "demo/mugs/"


@pytest.fixture(scope="module")
def finished(site: Site) -> Site:
    """The site after `kubectl apply` of the examples and `kubectl wait`."""
    for example in ("model.yaml", "job.yaml"):
        site.kubectl("apply", "-n", site.namespace, "-f", str(EXAMPLES / example))
    workers = until("the worker's pod", lambda: site.pods(WORKER, job="mugs"), seconds=240)
    check_pods_are_real(site, workers)
    site.wait("generationjobs.easel.dev", "mugs", "Complete", seconds=240)
    return site


def check_pods_are_real(site: Site, workers: list[dict[str, object]]) -> None:
    """Operator, runtime and worker are pods of their own that run the images that were built."""
    assert len(workers) == 1
    for pods, image in (
        (workers, "easel/operator"),
        (site.pods(RUNTIME, model="studio-mini"), "easel/runtime"),
        (site.pods(OPERATOR, namespace=SYSTEM), "easel/operator"),
    ):
        assert pods
        for pod in pods:
            (container,) = json.loads(json.dumps(pod))["spec"]["containers"]
            assert image in container["image"]
            assert container["securityContext"]["allowPrivilegeEscalation"] is False


def test_the_job_is_complete(finished: Site) -> None:
    status = finished.job("mugs")["status"]
    assert status["phase"] == "Complete"
    assert status["items"] == {"total": 16, "succeeded": 16, "failed": 0, "running": 0}
    assert status["manifest"] == f"s3://art/{FOLDER}manifest.json"
    table = finished.kubectl("get", "gen", "-n", finished.namespace)
    assert re.search(r"mugs +text-to-image +Complete +16/16 +studio-mini", table)


def test_the_bucket_holds_what_the_manifest_says(finished: Site) -> None:
    pictures = finished.bucket.pictures(FOLDER)
    assert len(pictures) == 16
    assert finished.bucket.keys(FOLDER) == sorted([*pictures, f"{FOLDER}manifest.json"])
    assert len(set(pictures.values())) == 16
    for item in finished.bucket.manifest(FOLDER)["items"]:
        assert item["state"] == "Succeeded"
        assert {item["variables"]["colour"], item["variables"]["place"]} <= set(
            re.split(r" (?=mug|in|on)|(?<=mug) |, |^a ", item["prompt"])
        )
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", item["delivered"]["modelDigest"])


def test_the_pictures_show_what_was_asked(finished: Site, tmp_path: Path) -> None:
    from easel_inference.miniature.judge import judge_files

    prompts = {item["delivered"]["key"]: item["prompt"] for item in finished.bucket.manifest(FOLDER)["items"]}
    files = {}
    for key, data in finished.bucket.pictures(FOLDER).items():
        files[tmp_path / key.rpartition("/")[2]] = prompts[key]
        (tmp_path / key.rpartition("/")[2]).write_bytes(data)
    agreement = judge_files(list(files), list(files.values()))
    assert len(agreement.asked) == 16
    assert agreement.share("product", "colour") >= 0.9, list(zip(agreement.asked, agreement.seen, strict=True))


def test_no_process_runs_as_root(finished: Site) -> None:
    pods = [*finished.pods(RUNTIME, model="studio-mini"), *finished.pods(OPERATOR, namespace=SYSTEM)]
    for pod in pods:
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        assert finished.kubectl("exec", "-n", namespace, name, "--", "id", "-u").strip() != "0"


def test_prompts_are_in_no_log(finished: Site) -> None:
    for labels, namespace in ((OPERATOR, SYSTEM), (RUNTIME, finished.namespace), (WORKER, finished.namespace)):
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        log = finished.kubectl("logs", "-n", namespace, "-l", selector, "--tail=-1")
        assert "mug in a studio" not in log
        assert "mug on a beach" not in log
