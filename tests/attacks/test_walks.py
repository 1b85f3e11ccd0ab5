"""Every walk and every read ends: links in a circle, pipes, devices, files of the kernel, bombs."""

from __future__ import annotations

import bz2
import gzip
import os
from glob import glob
from pathlib import Path

import pytest
import yaml

from luthier.compare.costs.prices import read_prices
from luthier.errors import LuthierError, ModelError, TaskError
from luthier.retrieval import IndexSettings, build_index
from luthier.safety import walking
from luthier.safety.plain_files import open_plain, read_plain
from luthier.safety.plain_yaml import load_yaml
from luthier.safety.walking import matching
from luthier.scoring.judges.open_judge import open_judge
from luthier.task.reading import open_text
from luthier.task.reading.documents import check_documents, documents_digest
from luthier.task.task import Task

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
TASK = "instruction: Answer.\ninput: q\ntarget: a\nkind: question-answering\nleaks: keep\n"
NEVER_END = ["fifo", "/dev/zero", "/dev/urandom", "/dev/tty", "/proc/kmsg", "/proc/self/mem",
             "/proc/kcore", "/proc/self/pagemap", "folder"]  # fmt: skip


@pytest.fixture
def place(tmp_path):
    """A folder with documents, links in circles, a pipe, and links to what never ends."""
    docs = tmp_path / "docs"
    (docs / "deep" / "er").mkdir(parents=True)
    (docs / "a.md").write_text("Quist is the mayor.")
    (docs / "deep" / "er" / "b.md").write_text("The river is cold.")
    for number in range(3):  # two circles make 2^40 paths, three more
        (docs / "deep" / f"up{number}").symlink_to(docs)
    os.mkfifo(tmp_path / "fifo")
    os.mkfifo(docs / "pipe.md")
    (docs / "zero.md").symlink_to("/dev/zero")
    (docs / "kernel.md").symlink_to("/proc/kmsg")
    (docs / "gone.md").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    rows = "\n".join(f"question {i} about {i % 9},{i % 3}" for i in range(60))
    (tmp_path / "rows.csv").write_text("q,a\n" + rows)
    return tmp_path


@pytest.mark.parametrize("pattern", ["", "/**", "/**/*", "/**/*.md", "/*/**/*.md"])
def test_documents_in_circles_are_found_once(place, pattern):
    source = f"{place}/docs{pattern}"
    check_documents([source])
    assert len(documents_digest([source])) == 64
    report = build_index([source], place / "index", settings=IndexSettings(embedder="none"))
    assert report.passages >= 1
    assert {b.source.rpartition("/")[2] for b in report.bad} <= {"kernel.md"}


@pytest.mark.parametrize("name", NEVER_END)
@pytest.mark.parametrize("key", ["data", "schema", "knowledge", "price_book", "scorer", "file"])
def test_no_path_of_a_task_file_waits_or_grows(place, name, key):
    target = Path(name) if name.startswith("/") else place / name
    link = place / {"data": "x.csv", "schema": "x.json", "file": "t.yaml"}.get(key, "x.md")
    link.symlink_to(target)
    if key != "file":
        lines = {
            "data": f"data: {link}", "schema": f"data: rows.csv\nkind: extract\nschema: {link}",
            "knowledge": f"data: rows.csv\nknowledge: {link}",
            "price_book": f"data: rows.csv\nprice_book: {link}",
            "scorer": f"data: rows.csv\nscorer: judge({link})",
        }[key]  # fmt: skip
        base = TASK if key != "schema" else TASK.replace("kind: question-answering\n", "")
        (place / "t.yaml").write_text(f"{base}{lines}\n")

    def use_all():
        task = Task.load(place / "t.yaml")
        if key == "knowledge":
            build_index(list(task.knowledge), place / "i", settings=IndexSettings(embedder="none"))
        if key == "price_book":
            read_prices(task.price_book)
        if key == "scorer":
            open_judge(str(link), model="fake")

    with pytest.raises(LuthierError) as refused:
        use_all()
    assert refused.value.exit_code in (1, 2)


@pytest.mark.parametrize("name", NEVER_END)
def test_only_plain_files_are_opened(place, name):
    target = name if name.startswith("/") else place / name
    if name.startswith("/") and not os.path.exists(name):  # noqa: PTH110
        pytest.skip("not on this machine")
    with pytest.raises(OSError):
        open_plain(target)
    with pytest.raises(OSError, match="more than 3 bytes"):
        read_plain(place / "rows.csv", most=3)


def test_a_million_files_are_enough(place, monkeypatch):
    monkeypatch.setattr(walking, "MOST_FILES", 3)
    with pytest.raises(TaskError, match="more than 3 files"):
        check_documents([f"{place}/docs/**/*.none"])


@pytest.mark.parametrize(
    "pattern",
    ["*.md", "**", "**/*", "**/*.md", "docs/**", "docs/**/*.md", "docs/*/**/b.*", "**/er/*",
     "d*/**", "docs/[ab].md", "**/.hidden", "docs/**/er/**", "none/**"],
)  # fmt: skip
def test_globs_name_what_the_library_names(tmp_path, monkeypatch, pattern):
    monkeypatch.chdir(tmp_path)
    for name in ("docs/a.md", "docs/b.txt", "docs/deep/er/b.md", "docs/.hidden", "c.md", ".d/e.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    expected = {p for p in glob(pattern, recursive=True) if Path(p).is_file()}  # noqa: PTH207
    assert set(matching(pattern)) == expected
    whole = {p for p in glob(f"{tmp_path}/{pattern}", recursive=True) if Path(p).is_file()}  # noqa: PTH207
    assert set(matching(f"{tmp_path}/{pattern}")) == whole


@pytest.mark.parametrize("pack", [gzip.open, bz2.open])
def test_a_small_file_that_unpacks_to_anything_ends(place, monkeypatch, pack):
    monkeypatch.setattr(open_text, "MOST_UNPACKED_BYTES", 3_000_000)
    with pack(place / "bomb.csv.gz", "wt") as file:
        file.write("q,a,rest\n")
        for number in range(100):
            file.write(f"question {number},{number % 3},{'x' * 100_000}\n")
    (place / "t.yaml").write_text(f"{TASK}data: bomb.csv.gz\n")
    with pytest.raises(TaskError, match="unpacks to more than"):
        Task.load(place / "t.yaml")


LAUGHS = "a: &a [x, x]\n" + "\n".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]" for i in range(9)
)
DEEP = {
    "flow": "[" * 50_000 + "]" * 50_000,
    "maps": "{a: " * 50_000 + "1" + "}" * 50_000,
    "dashes": "- " * 50_000 + "x",
    "indented": "\n".join(" " * i + "a:" for i in range(3000)),
    "questions": "? " * 50_000 + "x",
}


@pytest.mark.parametrize("text", [LAUGHS, *DEEP.values()], ids=["laughs", *DEEP])
def test_yaml_that_grows_is_refused(place, text):
    with pytest.raises(yaml.YAMLError):
        load_yaml(text)
    (place / "bomb.yaml").write_text(text)
    with pytest.raises(TaskError):
        Task.load(place / "bomb.yaml")
    with pytest.raises(TaskError):
        read_prices(place / "bomb.yaml")
    (place / "rubric.md").write_text(f"---\n{text}\n---\nGood.")
    with pytest.raises(TaskError):
        open_judge(str(place / "rubric.md"), model="fake")
    (place / "model").mkdir(exist_ok=True)
    (place / "model" / "luthier.yaml").write_text(text)
    from luthier.models.load import load

    with pytest.raises(ModelError):
        load(place / "model")


def test_plain_yaml_is_read_as_it_is():
    assert load_yaml("a: [1, {b: c}]\nd: 'x * y & z'\ne: |\n  *no alias\n") == {
        "a": [1, {"b": "c"}], "d": "x * y & z", "e": "*no alias\n",
    }  # fmt: skip
