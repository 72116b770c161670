"""The main job, shown to a person: everything is brought up, the examples are applied, the pictures come to a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import yaml
from easel_cluster import tools
from easel_cluster.layout import REPOSITORY

from easel_api.errors import BackendFault
from easel_inference.artifacts import manifest
from easel_inference.cli.sheet import Entry, contact_sheet
from easel_installed.places import open_site
from easel_installed.site import Manifest, Site, condition
from easel_installed.waiting import until

EXAMPLES = REPOSITORY / "examples" / "cluster"

JOB, FOLDER = "mugs", "demo/mugs/"
DEADLINE_SECONDS = 600

Report = Callable[[str], None]


def show(out: Path, report: Report = tools.say) -> None:
    """Bring up, install, apply the examples, wait, download. `BackendFault` says why a job did not complete."""
    site = open_site(report)
    # A demo starts from nothing each time: the job object goes, and so do its pictures.
    site.delete("generationjobs.easel.dev", JOB)
    site.bucket.empty(FOLDER)
    for example in ("model.yaml", "job.yaml"):
        report(f"kubectl apply -n {site.namespace} -f examples/cluster/{example}")
        site.apply(site.in_its_bucket(yaml.safe_load((EXAMPLES / example).read_text())))
    job = until("the end of the job", Progress(site, report), seconds=DEADLINE_SECONDS)
    if condition(job, "Complete") != "True":
        raise BackendFault(f"the job {JOB} ended {job['status']['phase']}", found=condition(job, "Ready", "message"))
    count = download(site, out)
    report(
        f"{count} pictures in {out}, all of them on {out / 'sheet.png'}; the cluster stays up until `make cluster-down`"
    )


class Progress:
    """Says what changed about the job each time it is asked; the job once it has ended."""

    def __init__(self, site: Site, report: Report) -> None:
        self._site, self._report, self._said = site, report, ""

    def __call__(self) -> Manifest:
        """The ended job, or nothing yet."""
        job = self._site.job(JOB)
        status = job.get("status", {})
        line = f"{JOB}: {status.get('phase', 'Pending')} {status.get('done', '')} {condition(job, 'Ready', 'message')}".rstrip()
        if line != self._said:
            self._report(line)
            self._said = line
        ended = "True" in (condition(job, "Complete"), condition(job, "Failed"))
        return job if ended else {}


def download(site: Site, out: Path) -> int:
    """The pictures and a sheet with all of them; how many there are."""
    out.mkdir(parents=True, exist_ok=True)
    pictures = site.bucket.pictures(FOLDER)
    for key, data in pictures.items():
        (out / Path(key).name).write_bytes(data)
    told = site.bucket.read(f"{FOLDER}manifest.json")
    (out / "manifest.json").write_bytes(told)
    items = manifest.parse(told, FOLDER).items
    entries = [Entry(item, pictures[item.delivered.key]) for item in items if item.delivered]
    (out / "sheet.png").write_bytes(contact_sheet(JOB, entries))
    return len(pictures)
