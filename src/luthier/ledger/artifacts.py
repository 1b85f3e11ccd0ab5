"""Folders stored under the hash of their content, each written completely or not at all.

artifacts/ab/abcdef…/     a finished artifact; its name is the hash of its files
artifacts/tmp-*/          an unfinished one; the next start removes what a kill left
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from luthier.errors import StorageError
from luthier.ledger.storage_errors import storage_error
from luthier.ledger.written_files import check_ours, replace_folder
from luthier.redaction import without_secrets

FICLONE = 0x40049409  # Linux: one file shares the blocks of another until either is written
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Artifacts:
    """A store of folders under `root`."""

    root: Path

    def put(self, write: Callable[[Path], object]) -> str:
        """Let `write` fill an empty folder, store it, and return its hash.

        Nothing is visible until all of it is on the disk: temporary folder, fsync, rename.
        StorageError when writing fails; nothing half-written stays.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(prefix="tmp-", dir=self.root))
            try:
                content = scratch / "content"
                content.mkdir()
                write(content)
                _sync_tree(content)
                digest = tree_hash(content)
                target = self.path(digest)
                if not target.is_dir():
                    target.parent.mkdir(exist_ok=True)
                    try:
                        os.replace(content, target)
                    except OSError:
                        if not target.is_dir():  # else: another process kept the same content
                            raise
                    _sync(target.parent)
                return digest
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        except OSError as error:
            raise storage_error(self.root, error) from error

    def path(self, digest: str) -> Path:
        """The folder of the artifact with that hash, whether it exists or not.

        StorageError for what is no hash.
        """
        if _DIGEST.fullmatch(digest) is None:  # it may come out of a ledger
            raise StorageError(
                f"{digest!r} is no hash of an artifact",
                next_step="The ledger was changed by hand, or made to do harm: use another copy.",
            )
        return self.root / digest[:2] / digest

    def verify(self, digest: str) -> Path:
        """The folder of an artifact, after reading all of it. StorageError if it is missing or
        changed."""
        folder = self.path(digest)
        if not folder.is_dir():
            raise StorageError(
                f"The artifact {digest[:12]} is missing from {self.root}",
                next_step="Run the same command again: it is made again.",
            )
        try:
            actual = tree_hash(folder)
        except OSError as error:
            raise storage_error(folder, error) from error
        if actual != digest:
            raise StorageError(
                f"The artifact {folder} has been changed: its content hashes to {actual[:12]}",
                next_step=f"Delete {folder} and run the same command again: it is made again.",
            )
        return folder

    def has(self, digest: str | None) -> bool:
        """Whether an artifact exists and is unchanged."""
        if digest is None:
            return False
        try:
            self.verify(digest)
        except StorageError:
            return False
        return True

    def discard(self, digest: str) -> None:
        """Remove an artifact (one that was found changed)."""
        shutil.rmtree(self.path(digest), ignore_errors=True)

    def sweep(self) -> int:
        """Remove what killed processes left half-written; returns how many folders."""
        named = self.root.glob("tmp-*") if self.root.is_dir() else ()
        # mkdtemp's names; and whatever else may be called so is not ours.
        unfinished = [p for p in named if re.fullmatch(r"tmp-[a-z0-9_]{8}", p.name)]
        for folder in unfinished:
            shutil.rmtree(folder, ignore_errors=True)
        return len(unfinished)


def tree_hash(folder: Path) -> str:
    """SHA-256 over the relative names and contents of all files, in order of name."""
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return total.hexdigest()


def tree_bytes(folder: Path) -> int:
    """The size of all files of a folder, in bytes."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def copy_folder(artifact: Path, place: Path) -> None:
    """Make `place` a folder with the files of `artifact`, complete when it is copied elsewhere.

    The files are clones that share their blocks where the file system can do that, else copies:
    whoever edits one does not touch the artifact. StorageError where `place` is to be replaced and
    holds what we did not write.
    """
    scratch = place.with_name(f".{place.name}-{os.getpid()}")
    try:
        if _is_copied(place, artifact):
            return
        check_ours(place)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.copytree(artifact, scratch, copy_function=_clone_or_copy)
        replace_folder(scratch, place)
    except OSError as error:
        raise storage_error(place, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _is_copied(place: Path, artifact: Path) -> bool:
    """Whether a folder holds the files of an artifact, unchanged; others may stand beside them."""
    if place.is_symlink() or not place.is_dir():
        return False
    return all(_is_same(place / f, artifact / f) for f in _files(artifact))


def _is_same(copy: Path, original: Path) -> bool:
    if copy.is_symlink() or not copy.is_file():
        return False
    mine, its = copy.stat(), original.stat()
    return (mine.st_size, mine.st_mtime_ns) == (its.st_size, its.st_mtime_ns)


def _files(folder: Path) -> list[Path]:
    return sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())


def _clone_or_copy(source: str, target: str) -> None:
    try:
        import fcntl

        with open(source, "rb") as old, open(target, "wb") as new:  # noqa: PTH123
            fcntl.ioctl(new.fileno(), FICLONE, old.fileno())
        shutil.copystat(source, target)
    except (ImportError, OSError):
        shutil.copy2(source, target)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file completely or not at all: temporary file, fsync, rename.

    No secret of the environment is written (`luthier.redaction`).
    """
    text = without_secrets(text)
    scratch = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise storage_error(path, error) from error


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot open a folder
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
