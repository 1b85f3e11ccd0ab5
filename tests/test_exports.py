"""The public names: each can be imported, says what it is, and none is forgotten."""

from __future__ import annotations

import dataclasses
import inspect
import os
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import luthier
from luthier import content, errors, records, registry

SOURCE = Path(luthier.__file__).parent
NAMES = [name for name in luthier.__all__ if name != "__version__"]


def run(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, *options, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env=env, check=True)


def classes_of(module) -> set[str]:
    """The public classes that a module defines."""
    return {
        name
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__ and name[0] != "_"
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_name_can_be_imported_and_is_documented(name):
    value = getattr(luthier, name)
    assert callable(value)
    assert inspect.getdoc(value), name
    if inspect.isclass(value) and dataclasses.is_dataclass(value):
        assert not inspect.getdoc(value).startswith(f"{name}("), "the docstring is generated"


def test_the_list_is_sorted_and_without_repetition():
    assert len(set(luthier.__all__)) == len(luthier.__all__)
    assert dir(luthier) == sorted(luthier.__all__)


def test_the_imports_for_type_checkers_name_what_is_exported():
    source = (SOURCE / "__init__.py").read_text("utf-8")
    block = source.partition("if TYPE_CHECKING:")[2].partition("__all__")[0]
    scope: dict[str, object] = {}
    exec("if True:" + block, scope)
    public = {name for name in scope if name not in ("__builtins__", "__annotations__")}
    assert public == set(NAMES)
    for name in NAMES:
        if name != "compare":  # the function or the room that is called like it
            assert scope[name] is getattr(luthier, name)


def test_every_technique_is_exported():
    built_in = registry.EXTENSION_POINTS["techniques"].built_in
    classes = {registry.get("techniques", name).__name__ for name in built_in}
    assert len(classes) == len(built_in)
    assert classes <= set(luthier.__all__)


@pytest.mark.parametrize("module", [errors, content, records], ids=lambda m: m.__name__)
def test_every_error_and_every_shared_record_is_exported(module):
    assert classes_of(module) <= set(luthier.__all__)


def test_what_a_public_signature_names_is_exported():
    functions = [luthier.evaluate, luthier.load, luthier.Technique.fit, luthier.Model.answer]
    public = {name: getattr(luthier, name) for name in NAMES}  # some are imported for types only
    named = set()
    for function in functions:
        for hint in typing.get_type_hints(function, localns=public).values():
            named |= {t for t in flat(hint) if getattr(t, "__module__", "").startswith("luthier")}
    assert luthier.Budget in named
    assert {t.__name__ for t in named} <= set(luthier.__all__)


def flat(hint: object) -> list[object]:
    """A type and all types inside it."""
    return [hint, *(t for part in typing.get_args(hint) for t in flat(part))]


def test_a_bare_import_loads_no_heavy_library():
    heavy = ("torch", "transformers", "scipy", "sklearn", "pandas", "numpy", "typer", "rich")
    done = run(
        f"import luthier, sys; print([m for m in sys.modules if m.split('.')[0] in {heavy}])"
    )
    assert done.stdout.strip() == "[]"


def test_errors_and_records_are_reached_without_torch():
    names = sorted(classes_of(errors) | classes_of(content) | classes_of(records))
    each = f"[getattr(luthier, n) for n in {names}]"
    code = f"import luthier, sys; {each}; print('torch' in sys.modules)"
    assert run(code).stdout.strip() == "False"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'LoRa'"):
        _ = luthier.LoRa


def test_the_package_runs_as_a_module():
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "luthier", "version"]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=True)
    assert done.stdout.strip() == luthier.__version__
