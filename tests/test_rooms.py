"""Who may import whom, and what only one place may do: docs/architecture.md, enforced."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "registry_wsgi"
VOCABULARY = (".names", ".oci", ".errors", ".descriptors", ".strict_json", ".observing", ".version")
PURE = {"collections", "contextlib", "dataclasses", "datetime", "typing"}
CONTRACTS = "contracts"
"""Stands for the modules of ``storage`` that import only the vocabulary, each other, and ``PURE``."""

ROOMS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(VOCABULARY, VOCABULARY),
    ".web": (".web", ".services", ".auth.base", *VOCABULARY, "werkzeug", "itsdangerous"),
    ".services": (".services", CONTRACTS, *VOCABULARY),
    ".auth": (".auth", CONTRACTS, *VOCABULARY, "itsdangerous", "werkzeug.security", "bcrypt"),
    ".storage": (".storage", *VOCABULARY),
    ".watching": (".watching", *VOCABULARY, "prometheus_client"),
    ".server": (".server", ".wiring", ".config", *VOCABULARY, "gunicorn"),
    ".doctor": (".doctor", *VOCABULARY),
    ".wiring": (".",),
    ".cli": (".", "werkzeug"),
    ".config": (".settings", ".names"),
    ".settings": (),
    ".__main__": (".cli",),
    ".__init__": (".wiring", ".version"),
}
"""What each room may import besides the standard library; a leading dot is the package's."""

FORBIDDEN = {
    ".web": {"io", "os", "pathlib", "shutil", "tempfile"},
    ".services": {"datetime", "io", "os", "pathlib", "shutil", "socket", "tempfile", "time"},
}
"""What a room may not import of the standard library: files, and clocks, which are injected."""

CHANGES = {"fdatasync", "fsync", "ftruncate", "link", "mkdir", "pwrite", "remove", "rename"} | (
    {"renames", "replace", "rmdir", "symlink", "truncate", "unlink", "write", "writev"}
    | {"copy", "copy2", "copyfile", "copytree", "move", "rmtree"}
)
"""Functions of ``os`` and ``shutil`` that change files."""

PATH_CHANGES = {"hardlink_to", "mkdir", "rename", "rmdir", "symlink_to", "touch", "unlink"} | (
    {"write_bytes", "write_text"}
)
"""Methods of ``Path`` that do; allowed where it is ``FileOps`` or the index that is called."""

NOT_PATHS = {"_ops", "ops", "blobs"}

CHANGERS = {".storage.fsops", ".watching.sharing"}
"""Who changes files: the one module for it, and counters in a scratch directory, kept by nobody."""

EDGES = ("web/app.py", "server/background.py")
"""Where a thread begins, and everything may be caught, once: a request, and what is done beside them."""

FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
MODULE_LIMIT, FUNCTION_LIMIT = 350, 60


def imports(node: ast.AST) -> list[str]:
    """What an import statement imports, the package's own with a leading dot."""
    found: list[str] = []
    if isinstance(node, ast.Import):
        found = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        found = [f"{node.module}.{alias.name}" for alias in node.names]
    return [name.removeprefix("registry_wsgi") for name in found]


def within(name: str, allowed: str) -> bool:
    """Whether ``name`` is what is ``allowed`` or something in it."""
    return name == allowed or name.startswith(f"{allowed.rstrip('.')}.")


def contracts_of(package: Path) -> tuple[str, ...]:
    """The modules of ``storage`` that say what an implementation promises, and do nothing."""
    needs = {
        f".storage.{path.stem}": {
            name for node in ast.walk(ast.parse(path.read_text("utf-8"))) for name in imports(node)
        }
        for path in package.glob("storage/*.py")
    }
    found = set(needs)
    while impure := {
        module
        for module in found
        if not all(
            any(within(n, one) for one in (*VOCABULARY, *PURE, *found)) for n in needs[module]
        )
    }:
        found -= impure
    return tuple(sorted(found))


def room_of(place: str) -> str:
    """The room in the table that a module belongs to; what continues the wiring is wiring."""
    known = [room for room in ROOMS if within(place, room)]
    return ".wiring" if place.startswith(".wiring_") else known[0] if known else place


def import_faults(tree: ast.Module, room: str, contracts: tuple[str, ...]) -> Iterator[str]:
    """Imports that the room may not have, and imports inside functions."""
    allowed = ROOMS.get(room_of(room), ())
    if CONTRACTS in allowed:
        allowed = (*allowed, *contracts)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield f"line {node.lineno}: a relative import"
        for name in imports(node):
            top = name.partition(".")[0]
            forbidden = FORBIDDEN.get(room_of(room), set())
            standard = top in sys.stdlib_module_names and top not in forbidden
            if top == "sqlite3":
                standard = within(room, ".storage") or within(room, ".cli")
            if not standard and not any(within(name, one) for one in allowed):
                yield f"imports {name}"
    for function in ast.walk(tree):
        if isinstance(function, FUNCTIONS) and any(imports(node) for node in ast.walk(function)):
            yield f"{function.name} imports inside"


def call_faults(tree: ast.Module, room: str) -> Iterator[str]:
    """Calls that only storage, or only its one module for file operations, may make."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call | ast.Attribute):
            continue
        match node:
            case ast.Call(func=ast.Name(id="open")) if within(room, ".web") or within(
                room, ".services"
            ):
                yield f"line {node.lineno}: calls open()"
            case ast.Attribute(value=ast.Name(id="os" | "shutil" as module), attr=attribute) if (
                attribute in CHANGES and room not in CHANGERS
            ):
                yield f"line {node.lineno}: {module}.{attribute}"
            case ast.Call(func=ast.Attribute(value=receiver, attr=attribute)) if (
                attribute in PATH_CHANGES and room not in CHANGERS
            ):
                if ast.unparse(receiver).rpartition(".")[2] not in {"os", *NOT_PATHS}:
                    yield f"line {node.lineno}: .{attribute}()"


def size_faults(tree: ast.Module, text: str) -> Iterator[str]:
    """A module or a function that is too long to be read in one go."""
    if len(text.splitlines()) > MODULE_LIMIT:
        yield f"longer than {MODULE_LIMIT} lines"
    for node in ast.walk(tree):
        if isinstance(node, FUNCTIONS) and (node.end_lineno or 0) - node.lineno >= FUNCTION_LIMIT:
            yield f"{node.name} is longer than {FUNCTION_LIMIT} lines"


def broad_excepts(tree: ast.Module) -> Iterator[str]:
    """Handlers that catch everything."""
    for node in ast.walk(tree):
        match node:
            case ast.ExceptHandler(type=None):
                yield f"line {node.lineno}: except"
                continue
            case ast.ExceptHandler(type=ast.Tuple(elts=caught)):
                pass
            case ast.ExceptHandler(type=ast.expr() as one):
                caught = [one]
            case ast.Call(func=function, args=caught) if "suppress" in ast.unparse(function):
                pass
            case _:
                continue
        if {"Exception", "BaseException"} & set(map(ast.unparse, caught)):
            yield f"line {node.lineno}: catches everything"


def faults(package: Path) -> list[str]:
    """Everything in the package that is not as it has to be."""
    found = []
    contracts = contracts_of(package)
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package)
        room = "." + ".".join(place.with_suffix("").parts)
        text = path.read_text("utf-8")
        tree = ast.parse(text)
        broad = list(broad_excepts(tree))
        if place.as_posix() in EDGES and len(broad) == 1:
            broad = []
        imported = import_faults(tree, room, contracts)
        of_file = (*imported, *call_faults(tree, room), *size_faults(tree, text), *broad)
        found += [f"{place}: {fault}" for fault in of_file]
    return found


def test_the_package_keeps_to_its_rooms() -> None:
    """No module imports, calls, catches or grows what its room does not allow."""
    assert faults(PACKAGE) == []


@pytest.mark.parametrize("edge", EDGES)
def test_there_is_one_broad_except_at_each_edge(edge: str) -> None:
    """What nobody foresaw gets an answer in a request, and in a background thread a next turn."""
    tree = ast.parse((PACKAGE / edge).read_text("utf-8"))

    assert len(list(broad_excepts(tree))) == 1


def test_every_room_is_in_the_table() -> None:
    """A new folder or top-level module has to be given a place before it may import anything."""
    top = {f".{path.stem}" for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    top |= {f".{path.stem}" for path in PACKAGE.glob("*.py")}

    assert {room_of(place) for place in top} == set(ROOMS)


def test_the_contracts_of_storage_are_pure() -> None:
    """The two seams are contracts, and no implementation is taken for one."""
    contracts = contracts_of(PACKAGE)

    assert {".storage.base", ".storage.store"} <= set(contracts)
    assert not {".storage.disk", ".storage.fsops", ".storage.locks"} & set(contracts)


BREACHES = {
    "web imports storage": ("web/a.py", "from registry_wsgi.storage.base import Blob"),
    "web imports the whole package": ("web/a.py", "import registry_wsgi"),
    "web imports a storage module": ("web/a.py", "from registry_wsgi.storage import base"),
    "web imports a sign-in back end": ("web/a.py", "from registry_wsgi.auth.users import Users"),
    "web imports gunicorn": ("web/a.py", "import gunicorn.http"),
    "web imports sqlite3": ("web/a.py", "import sqlite3"),
    "web opens a file": ("web/a.py", "def f() -> None:\n    open('x')"),
    "web imports pathlib": ("web/a.py", "from pathlib import Path"),
    "services import web": ("services/a.py", "from registry_wsgi.web import app"),
    "services import werkzeug": ("services/a.py", "from werkzeug.http import parse_date"),
    "services import an implementation": ("services/a.py", "import registry_wsgi.storage.disk"),
    "services read a clock": ("services/a.py", "import time"),
    "services open a file": ("services/a.py", "content = open('x')"),
    "services import what imports an implementation": (
        "services/a.py",
        "from registry_wsgi.storage.impure import Blob",
    ),
    "auth imports web": ("auth/a.py", "from registry_wsgi.web.request import Request"),
    "auth imports more of werkzeug": ("auth/a.py", "from werkzeug.http import parse_date"),
    "storage imports services": ("storage/a.py", "from registry_wsgi.services import gc"),
    "storage imports the wiring": ("storage/a.py", "from registry_wsgi.wiring import build"),
    "storage renames": ("storage/a.py", "import os\nos.rename('a', 'b')"),
    "storage syncs": ("storage/disk.py", "import os\nsync = os.fsync"),
    "storage removes a tree": ("storage/a.py", "import shutil\nshutil.rmtree('a')"),
    "storage unlinks a path": ("storage/a.py", "def f(path):\n    path.unlink()"),
    "the command line writes a file": ("cli/a.py", "def f(path):\n    path.write_text('')"),
    "server imports services": ("server/a.py", "from registry_wsgi.services import blobs"),
    "names import config": ("names.py", "from registry_wsgi.config import Config"),
    "names import werkzeug": ("names.py", "import werkzeug"),
    "the wiring imports a stranger": ("wiring.py", "import flask"),
    "an unknown room": ("extra.py", "from registry_wsgi.names import Name"),
    "a relative import": ("web/a.py", "from . import app"),
    "an import in a function": ("names.py", "def f() -> None:\n    import re"),
    "a bare except": ("cli/a.py", "try:\n    pass\nexcept:\n    pass"),
    "a broad except": ("cli/a.py", "try:\n    pass\nexcept Exception:\n    pass"),
    "a broad except among others": (
        "storage/a.py",
        "try:\n    pass\nexcept (OSError, BaseException):\n    pass",
    ),
    "a broad suppress": (
        "cli/a.py",
        "import contextlib\nwith contextlib.suppress(Exception):\n    pass",
    ),
    "two broad excepts at the edge": (
        "web/app.py",
        "try:\n    pass\nexcept Exception:\n    pass\n" * 2,
    ),
    "a long module": ("names.py", "\n" * 351),
    "a long function": ("names.py", "def f() -> None:\n" + "    x = 1\n" * 60),
}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package with a contract, an implementation, and what imports that."""
    modules = {
        "base": "from typing import Protocol\nfrom registry_wsgi.names import Digest\n",
        "disk": "import os\nfrom registry_wsgi.storage.base import Blob\n",
        "impure": "from registry_wsgi.storage.disk import Blob\n",
    }
    (tmp_path / "storage").mkdir()
    for name, text in modules.items():
        (tmp_path / "storage" / f"{name}.py").write_text(text)
    return tmp_path


@pytest.mark.parametrize(("place", "text"), BREACHES.values(), ids=BREACHES)
def test_a_breach_is_found(place: str, text: str, package: Path) -> None:
    """Each thing that a room must not do is found where it is done, once or more."""
    breach = package / place
    breach.parent.mkdir(exist_ok=True)
    breach.write_text(text)

    assert faults(package)
    assert all(fault.startswith(f"{place}: ") for fault in faults(package))


KEPT = {
    "web": "import time\nfrom registry_wsgi.services.blobs import Blob\nimport werkzeug.routing",
    "services": "from registry_wsgi.storage.base import Blob\n"
    "class S:\n    def f(self) -> None:\n        self.index.blobs.unlink(1)",
    "storage": "import os\nimport sqlite3\nfrom registry_wsgi.names import Digest\n"
    "class S:\n    def f(self) -> None:\n        self._ops.unlink(os.open('x', 0))",
    "cli": "from registry_wsgi.wiring import open_storage\nfrom werkzeug.serving import run_simple",
}


@pytest.mark.parametrize(("room", "text"), KEPT.items(), ids=KEPT)
def test_what_a_room_may_do_is_no_breach(room: str, text: str, package: Path) -> None:
    """What the table allows is not found."""
    (package / room).mkdir(exist_ok=True)
    (package / room / "a.py").write_text(text)

    assert faults(package) == []
