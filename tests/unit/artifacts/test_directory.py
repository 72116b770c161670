"""The folder store: whole files or none, and no way out of the folder."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from easel_api.errors import BadOutput, EnvironmentFault, InvalidInput, NotFound, QuotaExhausted
from easel_inference.artifacts.directory import DirectoryStore
from easel_inference.artifacts.stores import put_checked, read_back, sha256_of

LIMIT = 2**20


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("a file system of its own needs root")
    folder = tmp_path / "tiny"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_what_is_put_is_there_and_nothing_else(store: DirectoryStore, tmp_path: Path) -> None:
    put_checked(store, "mugs/a.png", b"picture", "image/png")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "mugs/a.png"]
    assert store.get("mugs/a.png", limit=LIMIT) == b"picture"
    assert read_back(store, "mugs/a.png", 7, sha256_of(b"picture"))
    assert store.uri("mugs/a.png") == f"{tmp_path}/mugs/a.png"


def test_what_is_missing_or_another_is_not_taken_for_it(store: DirectoryStore) -> None:
    store.put("a", b"12345678", "x/y")
    assert store.get("b", limit=LIMIT) is None
    assert store.get("folder/b", limit=LIMIT) is None
    assert not read_back(store, "a", 7, sha256_of(b"1234567"))
    assert not read_back(store, "a", 8, sha256_of(b"12345679"))
    assert not read_back(store, "a", 3, sha256_of(b"123"))
    assert not read_back(store, "b", 1, sha256_of(b"1"))


def test_a_store_that_returns_other_bytes_is_found_out(store: DirectoryStore) -> None:
    class Forgetful(DirectoryStore):
        def put(self, key: str, data: bytes, media_type: str) -> None:
            super().put(key, data[:-1], media_type)

    with pytest.raises(BadOutput, match="other bytes"):
        put_checked(Forgetful(store._root), "a", b"12345678", "x/y")


@pytest.mark.parametrize("key", ["../a", "a/../../b", "/etc/passwd", "a//b", "", ".", "a/.", "a\0b"])
def test_a_key_never_leads_out(store: DirectoryStore, key: str) -> None:
    for attempt in (lambda: store.put(key, b"x", "x/y"), lambda: store.get(key, limit=LIMIT)):
        with pytest.raises(InvalidInput, match="out of the folder"):
            attempt()


@given(key=st.text(st.characters(codec="utf-8"), min_size=1, max_size=30))
def test_no_key_writes_outside_of_its_root(tmp_path_factory: pytest.TempPathFactory, key: str) -> None:
    outer = tmp_path_factory.mktemp("outer")
    (outer / "root").mkdir()
    with contextlib.suppress(InvalidInput, EnvironmentFault):
        DirectoryStore(outer / "root").put(key, b"x", "x/y")
    assert [path.name for path in outer.iterdir()] == ["root"]


@pytest.mark.parametrize("planted", ["mugs", "mugs/a.png", "mugs/.a.png.partial"])
def test_links_are_not_followed(store: DirectoryStore, tmp_path: Path, planted: str) -> None:
    target = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    target.mkdir()
    secret = target / "a.png"
    secret.write_bytes(b"secret")
    link = tmp_path / planted
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(target if planted == "mugs" else secret)
    if planted != "mugs/a.png":  # rename replaces a link, which is safe
        with pytest.raises(InvalidInput, match="links are not followed"):
            store.put("mugs/a.png", b"mine", "x/y")
    if "partial" not in planted:
        with pytest.raises(InvalidInput, match="links are not followed"):
            store.get("mugs/a.png", limit=LIMIT)
    assert secret.read_bytes() == b"secret"


def test_a_full_disk_is_named_with_what_was_needed_and_leaves_no_scrap(tiny_disk: Path) -> None:
    store = DirectoryStore(tiny_disk)
    store.put("a", b"x" * 1000, "x/y")
    with pytest.raises(QuotaExhausted) as caught:
        store.put("b", b"x" * 200_000, "x/y")
    assert "200000 bytes" in caught.value.what
    assert caught.value.where == f"{tiny_disk}/b"
    assert os.strerror(errno.ENOSPC) in caught.value.found
    assert "again" in caught.value.fix
    assert [path.name for path in tiny_disk.iterdir()] == ["a"]


def test_a_file_size_limit_counts_as_full(store: DirectoryStore) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(QuotaExhausted, match="2000 bytes"):
            store.put("a", b"x" * 2000, "x/y")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert store.get("a", limit=LIMIT) is None


def test_an_overwrite_that_fails_keeps_the_old_file(tiny_disk: Path) -> None:
    store = DirectoryStore(tiny_disk)
    store.put("a", b"old", "x/y")
    with pytest.raises(QuotaExhausted):
        store.put("a", b"x" * 200_000, "x/y")
    assert store.get("a", limit=LIMIT) == b"old"


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such folder"):
        DirectoryStore(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault, match="cannot use this path"):
        DirectoryStore(tmp_path / "file", create=True)


def test_odd_files_and_large_ones_are_refused(store: DirectoryStore, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"x" * 100)
    for key, words in (("folder", "not a file"), ("pipe", "not a file"), ("large", "larger than 99 bytes")):
        with pytest.raises(InvalidInput, match=words):
            store.get(key, limit=99)
