"""The launcher's decisions, and what it says when a machine cannot do what it needs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from easel_cluster import __main__ as command_line
from easel_cluster import bases, cluster, namespaces, oci, processes, tools
from easel_cluster.layout import LONGEST_STATE_PATH, NPM_PACKAGES, State
from easel_cluster.pki import Authority
from hypothesis import given
from hypothesis import strategies as st

from easel_api.errors import BackendFault, EnvironmentFault, Stalled


@pytest.fixture
def state() -> Iterator[State]:
    # Not below tmp_path, which is too long for unix sockets.
    with tempfile.TemporaryDirectory(prefix="easel-") as folder:
        yield State(Path(folder)).make()


@pytest.fixture
def sleeper(state: State) -> Iterator[int]:
    process = subprocess.Popen(["sleep", "60"])
    processes.remember(state, "sleeper", process.pid)
    yield process.pid
    process.kill()
    process.wait()


@pytest.mark.parametrize("version", ["go1.20.1", "go1.25"])
def test_an_old_go_is_refused_with_the_version_it_needs(version: str) -> None:
    with pytest.raises(EnvironmentFault, match=r"Go is too old.*found: go1.*Install Go 1.26.8"):
        tools.check_go(version, minimum=(1, 26, 8))


@given(st.tuples(*[st.integers(0, 99)] * 3), st.tuples(*[st.integers(0, 99)] * 3))
def test_go_versions_are_compared_as_numbers(found: tuple[int, int, int], needed: tuple[int, int, int]) -> None:
    text = "go{}.{}.{}".format(*found)
    if found >= needed:
        assert tools.check_go(text, minimum=needed) == text
    else:
        with pytest.raises(EnvironmentFault):
            tools.check_go(text, minimum=needed)


def test_a_machine_without_go_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(tools, "GO_FOLDER", str(tmp_path))
    assert command_line.main(["tools", "helm"]) == 3
    said = capsys.readouterr().err
    assert said.startswith("EnvironmentFault: go: no Go compiler on this machine")
    assert "Traceback" not in said


def test_an_unknown_tool_is_answered_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["tools", "docker"]) == 3
    assert "kube-apiserver" in capsys.readouterr().err


def test_another_pin_flag_or_compiler_is_another_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = tmp_path / "pod"
    module.mkdir()
    (module / "go.mod").write_text("module a\n\ngo 1.26.0\n")
    monkeypatch.setattr(tools, "GO_MODULES", tmp_path)
    tool = tools.Tool("pod", "pod", "a")
    first = tools.folder_of(tool, "go1.26.8")
    assert first == tools.folder_of(tool, "go1.26.8")
    folders = {
        first,
        tools.folder_of(tool, "go1.26.9"),
        tools.folder_of(tools.Tool("pod", "pod", "a", tags="x"), "go1.26.8"),
    }
    (module / "go.sum").write_text("b v1.0.0 h1:x\n")
    folders.add(tools.folder_of(tool, "go1.26.8"))
    assert len(folders) == 4


def test_a_program_is_built_once_and_a_failed_build_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if not (shutil.which("go") or shutil.which("go", path=tools.GO_FOLDER)):
        pytest.skip("no Go on this machine")
    module = tmp_path / "go" / "pod"
    module.mkdir(parents=True)
    (module / "go.mod").write_text("module a\n\ngo 1.20\n")
    (module / "main.go").write_text("package main\n\nfunc main() {}\n")
    monkeypatch.setattr(tools, "GO_MODULES", tmp_path / "go")
    monkeypatch.setattr(tools, "TOOLS", {"pod": tools.Tool("pod", "pod", "a")})
    monkeypatch.setenv("EASEL_CACHE", str(tmp_path / "cache"))
    said: list[str] = []
    built = tools.ensure(["pod"], said.append)["pod"]
    assert subprocess.run([built], check=False).returncode == 0
    assert tools.ensure(["pod"], said.append) == {"pod": built}
    assert [line.split(" in ")[0] for line in said] == ["building pod ...", "built pod"]
    (module / "main.go").write_text("package main\n\nfunc main() { nowhere() }\n")
    with pytest.raises(BackendFault, match="undefined: nowhere"):
        tools.ensure(["pod"], said.append)


@pytest.mark.parametrize("folder", sorted(NPM_PACKAGES.iterdir()), ids=lambda folder: folder.name)
def test_each_package_of_a_lock_has_a_hash(folder: Path) -> None:
    lock = json.loads((folder / "package-lock.json").read_text())
    root, *others = lock["packages"].items()
    assert root[1]["dependencies"] == json.loads((folder / "package.json").read_text())["dependencies"]
    assert len(others) > 1
    for name, package in others:
        assert package["integrity"].startswith("sha512-"), name


def test_a_node_without_root_is_refused_before_anything_is_made(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    was = os.geteuid()
    tmp_path.chmod(0o777)
    try:
        if was == 0:
            os.seteuid(65534)
        assert command_line.main(["--dir", str(tmp_path / "cluster"), "up"]) == 3
    finally:
        os.seteuid(was)
    assert "needs root" in capsys.readouterr().err
    assert not (tmp_path / "cluster").exists()


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            EnvironmentFault, match=f"kube-apiserver cannot listen on port {port}.*Address already in use"
        ):
            processes.need_free_port("127.0.0.1", port, "kube-apiserver")


def test_a_process_that_only_has_our_old_pid_is_left_alone(state: State, sleeper: int) -> None:
    assert processes.running(state, "sleeper") == sleeper
    file = state.pids / "sleeper.json"
    kept = json.loads(file.read_text())
    for change in ({"started": kept["started"] - 1}, {"boot": "another"}):
        file.write_text(json.dumps(kept | change))
        assert processes.running(state, "sleeper") is None
        assert not processes.kill("sleeper", state)
        assert processes.identify(sleeper) is not None


def test_a_program_that_ignores_sigterm_is_killed(state: State) -> None:
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
    )
    log = state.logs / "stubborn.log"
    program = processes.Program("stubborn", (sys.executable, "-c", stubborn), lambda: "ready" in log.read_text())
    pid = processes.start(program, state)
    assert processes.stop("stubborn", state, seconds=0.2)
    assert processes.identify(pid) is None


def test_a_program_that_ends_at_once_shows_the_end_of_its_log(state: State) -> None:
    program = processes.Program("broken", ("sh", "-c", "echo the disk is upside down >&2; exit 1"), lambda: False)
    with pytest.raises(Stalled, match=r"broken ended.*the disk is upside down"):
        processes.start(program, state)


def test_a_tied_program_dies_with_who_started_it(state: State) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; from easel_cluster import processes, layout;"
        "s = layout.State(Path(sys.argv[2])); p = processes.Program('tied', ('sleep', '60'), lambda: True, tied=True);"
        "print(processes.start(p, s), flush=True); sys.stdin.read()"
    )
    folder = Path(tools.__file__).parents[1]
    starter = subprocess.Popen(
        [sys.executable, "-c", code, str(folder), str(state.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert starter.stdout
    pid = int(starter.stdout.readline())
    assert processes.identify(pid)
    starter.send_signal(signal.SIGKILL)
    starter.communicate()
    assert processes.wait_for(lambda: processes.identify(pid) is None, 10)


def test_routes_into_our_networks_are_found_and_others_are_not() -> None:
    routes = {"192.0.2.0/24", "10.96.5.0/24", "10.0.0.0/8", "172.29.77.3", "127.0.0.0/8"}
    assert namespaces.overlapping(routes, ("10.96.0.0/16", "172.29.77.0/24")) == [
        "10.0.0.0/8",
        "10.96.5.0/24",
        "172.29.77.3",
    ]


def test_certificates_say_who_and_where_and_are_made_once(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.server("api", "kube-apiserver", ["kubernetes.default", "10.96.0.1"])
    node = x509.load_pem_x509_certificate(
        authority.client("n", "system:node:a", "system:nodes").certificate.read_bytes()
    )
    served = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
    names = served.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["kubernetes.default"]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["10.96.0.1"]
    assert node.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value == "system:nodes"
    node.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate.read_bytes()))
    before = pair.certificate.read_bytes()
    assert Authority(tmp_path).server("api", "kube-apiserver", []).certificate.read_bytes() == before
    assert pair.key.stat().st_mode & 0o077 == 0


def test_the_mirror_is_the_suites_own_source() -> None:
    deb822 = "Types: deb\n# http://snapshot.example/x\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\n"
    security = "Types: deb\nURIs: http://mirror.example/debian-security\nSuites: bookworm-security\n"
    assert bases.mirror_of([f"{security}\n{deb822}"], []) == "http://mirror.example/debian"
    line = (
        "# deb http://old.example/debian bookworm main\ndeb [signed-by=/k] http://line.example/debian bookworm main\n"
    )
    assert bases.mirror_of([security], [line]) == "http://line.example/debian"
    assert bases.mirror_of([], []) == bases.MIRROR


def test_an_image_is_the_same_image_each_time(tmp_path: Path) -> None:
    program = tmp_path / "pod"
    program.write_bytes(b"#!")
    digests = set()
    for attempt in ("one", "two"):
        layer = tmp_path / f"{attempt}.tar"
        oci.layer_of_files(layer, {"/pod": program})
        digests.add(
            oci.write_layout(tmp_path / attempt, [layer], oci.Runs(entrypoint=["/pod"]), "docker.io/easel/pod:dev")
        )
    assert len(digests) == 1
    oci.archive(tmp_path / "two", tmp_path / "image.tar")
    with tarfile.open(tmp_path / "image.tar") as tar:
        assert {"index.json", "oci-layout", "blobs/sha256"} <= set(tar.getnames())
    assert oci.layout_digest(tmp_path / "two") == digests.pop()


def test_a_path_too_long_for_sockets_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only a node, which needs root, has sockets in its folder")
    with pytest.raises(EnvironmentFault, match="too long for unix sockets"):
        State(tmp_path / ("x" * LONGEST_STATE_PATH)).make()


def test_taking_down_what_is_not_up_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.down(State(tmp_path / "nothing"))
    assert "nothing is up" in capsys.readouterr().out
