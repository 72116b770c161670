"""The rules of the repository's layout that no linter knows."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("crds/easel_api", "operator/easel_operator", "inference/easel_inference")


def tracked() -> list[Path]:
    """Files that git tracks or would, that exist."""
    listing = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return [ROOT / line for line in listing.splitlines() if (ROOT / line).is_file()]


def sources() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".py"]


@pytest.mark.parametrize("folder", ["crds", "operator", "inference"])
def test_top_folders_are_not_packages(folder: str) -> None:
    # operator/__init__.py would shadow the standard library's `operator` for whatever starts in the root.
    assert not (ROOT / folder / "__init__.py").exists()


def test_python_starts_in_the_repository_root() -> None:
    subprocess.run([sys.executable, "-m", "json.tool", "--help"], cwd=ROOT, check=True, capture_output=True)


def test_every_package_says_what_lives_there() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("__init__.py")
        if len(ast.get_docstring(ast.parse(path.read_text())) or "") < 60
    ]
    assert silent == []


def test_no_shapeless_module_names() -> None:
    banned = {"utils", "util", "helpers", "helper", "manager", "managers", "common", "misc"}
    assert [path for path in sources() if path.stem in banned or banned & set(path.relative_to(ROOT).parts)] == []


def test_suppressions_carry_a_code_and_a_reason() -> None:
    bare = re.compile(r"#\s*(noqa(?!: [A-Z]+[0-9]+)|type: ignore(?!\[[-a-z, ]+\]))")
    reasonless = re.compile(r"#\s*type: ignore\[[-a-z, ]+\]\s*$|#\s*noqa: [A-Z0-9, ]+\s*$")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sources()
        if path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if bare.search(line) or reasonless.search(line)
    ]
    assert found == []


def test_requirements_hold_hashes_and_no_addresses() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        text = path.read_text()
        assert "--hash=sha256:" in text
        assert not re.search(r"https?://|--(extra-)?index-url|--find-links", text), path.name


def test_no_lock_file_with_registry_addresses_is_tracked() -> None:
    assert [path.name for path in tracked() if path.name in {"uv.lock", "pylock.toml"}] == []
    # npm can leave the addresses out, and finds each package by its name and hash.
    assert [path for path in tracked() if path.name == "package-lock.json" and '"resolved"' in path.read_text()] == []


def test_weights_are_safetensors_only() -> None:
    refused = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".pickle"}
    assert [path for path in tracked() if path.suffix in refused] == []


def test_repository_stays_small() -> None:
    assert sum(path.stat().st_size for path in tracked()) < 120 * 2**20
