"""Artifacts: all or nothing, found by what they hold."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from luthier.errors import StorageError
from luthier.ledger.artifacts import Artifacts, copy_folder, tree_bytes, tree_hash, write_text
from luthier.ledger.written_files import write_sums


def write(text: str) -> object:
    def fill(folder: Path) -> None:
        (folder / "inner").mkdir()
        (folder / "inner" / "a.txt").write_text(text, "utf-8")
        (folder / "b.bin").write_bytes(b"12345")

    return fill


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path / "artifacts")


def test_the_same_content_is_kept_once(artifacts: Artifacts) -> None:
    first, second, third = (artifacts.put(write(t)) for t in ("x", "x", "y"))  # type: ignore[arg-type]
    assert first == second != third
    assert artifacts.verify(first) == artifacts.path(first)
    assert tree_hash(artifacts.path(first)) == first
    assert tree_bytes(artifacts.path(first)) == 6
    assert not list(artifacts.root.glob("tmp-*"))


def test_a_writer_that_fails_leaves_nothing(artifacts: Artifacts) -> None:
    def broken(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StorageError, match="full"):
        artifacts.put(broken)
    assert list(artifacts.root.iterdir()) == []


def test_a_changed_artifact_is_found_out(artifacts: Artifacts) -> None:
    digest = artifacts.put(write("x"))  # type: ignore[arg-type]
    assert artifacts.has(digest)
    (artifacts.path(digest) / "b.bin").write_bytes(b"12346")
    with pytest.raises(StorageError, match="changed"):
        artifacts.verify(digest)
    assert not artifacts.has(digest)


def test_a_missing_artifact_is_found_out(artifacts: Artifacts) -> None:
    assert not artifacts.has(None)
    with pytest.raises(StorageError, match="missing"):
        artifacts.verify("0" * 64)


def test_what_a_kill_left_is_swept(artifacts: Artifacts) -> None:
    digest = artifacts.put(write("x"))  # type: ignore[arg-type]
    (artifacts.root / "tmp-a1b2c3d4").mkdir()
    (artifacts.root / "tmp-a1b2c3d4" / "half").write_text("x")
    (artifacts.root / "tmp-of-mine").mkdir()
    assert artifacts.sweep() == 1
    assert (artifacts.root / "tmp-of-mine").is_dir()
    assert artifacts.has(digest)


def test_names_of_files_are_part_of_the_hash(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text("same")
    assert tree_hash(tmp_path / "one") != tree_hash(tmp_path / "two")


def test_a_shown_artifact_is_replaced_whole_and_can_be_copied_away(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for name in ("one", "two", "two"):
        artifact = run / "artifacts" / name
        (artifact / "inner").mkdir(parents=True, exist_ok=True)
        if not (artifact / "inner" / "text").exists():
            (artifact / "inner" / "text").write_text(name)
            write_sums(artifact)
        copy_folder(artifact, run / "lora")
        assert (run / "lora" / "inner" / "text").read_text() == name
        assert not (run / "lora" / "inner" / "text").samefile(artifact / "inner" / "text")
    assert sorted(p.name for p in run.iterdir()) == ["artifacts", "lora"]
    # As `cp -r` and `tar` do, which take a link for a link.
    shutil.copytree(run / "lora", tmp_path / "shipped", symlinks=True)
    shutil.rmtree(run)
    assert (tmp_path / "shipped" / "inner" / "text").read_text() == "two"


def test_a_link_of_before_becomes_a_folder(tmp_path: Path) -> None:
    (tmp_path / "artifact").mkdir()
    (tmp_path / "artifact" / "text").write_text("one")
    (tmp_path / "lora").symlink_to("artifact", target_is_directory=True)
    copy_folder(tmp_path / "artifact", tmp_path / "lora")
    assert not (tmp_path / "lora").is_symlink()
    assert (tmp_path / "lora" / "text").read_text() == "one"


def test_what_cannot_be_cloned_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("fcntl.ioctl", refuse)
    (tmp_path / "artifact").mkdir()
    (tmp_path / "artifact" / "text").write_text("one")
    copy_folder(tmp_path / "artifact", tmp_path / "lora")
    assert (tmp_path / "lora" / "text").read_text() == "one"


def test_write_text_replaces_and_leaves_no_scratch(tmp_path: Path) -> None:
    for text in ("one", "zwei ü"):
        write_text(tmp_path / "deep" / "file", text)
        assert (tmp_path / "deep" / "file").read_text("utf-8") == text
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["file"]
