"""What is built installs into an empty environment, away from the checkout, and serves there."""

import dataclasses
import email.parser
import importlib.metadata
import shutil
import sys
import tarfile
import venv
import zipfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from support.programs import CHECKOUT, run
from support.server import RunningServer

from registry_wsgi.storage.sqlite.migrations import schema
from registry_wsgi.version import VERSION

SCHEMA = (CHECKOUT / "schema.sql").read_text("utf-8")
RUNTIME = {"werkzeug", "gunicorn", "itsdangerous"}
BUILDS_WHEELS_ITSELF = (70, 1)
"""The first setuptools that makes a wheel without another package."""

NOT_SOURCE = shutil.ignore_patterns(
    *(".git", ".venv", ".tools", "__pycache__", ".*_cache", ".hypothesis", "*.egg-info"),
    *("build", "dist", "registry-data"),
)
AWAY = {"PYTHONPATH": ""}
"""The environment of programs that must not find the checkout."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, so that building leaves nothing in it."""
    copy = tmp_path_factory.mktemp("source") / "checkout"
    shutil.copytree(CHECKOUT, copy, ignore=NOT_SOURCE)
    return copy


@pytest.fixture(scope="module")
def built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with the sdist and the wheel, of which the wheel is built from the sdist."""
    folder = tmp_path_factory.mktemp("built")
    isolation = [] if needs_isolation() else ["--no-isolation"]
    run([sys.executable, "-m", "build", *isolation, "--outdir", folder, source], environment=AWAY)
    return folder


def needs_isolation() -> bool:
    """Whether this environment has no setuptools that could build by itself."""
    try:
        version = importlib.metadata.version("setuptools")
    except importlib.metadata.PackageNotFoundError:
        return True
    return tuple(map(int, version.split(".")[:2])) < BUILDS_WHEELS_ITSELF


def the_one(folder: Path, pattern: str) -> Path:
    """The only file of a name like this."""
    (found,) = folder.glob(pattern)
    return found


FORMS: dict[str, Callable[[Path, Path], list[str | Path]]] = {
    "wheel": lambda built, _: [the_one(built, "*.whl")],
    "sdist": lambda built, _: [the_one(built, "*.tar.gz")],
    "checkout": lambda _, source: [source],
    "editable": lambda _, source: ["--editable", source],
}
"""What pip is given to install, by the distributions and the copy of the checkout."""


@pytest.fixture(scope="module")
def environments(
    built: Path, source: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Future[Path]]:
    """For each form an environment that had nothing in it before, as far as that has come."""

    def install(form: str) -> Path:
        folder = tmp_path_factory.mktemp(form) / "venv"
        venv.create(folder, symlinks=True)
        pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python")]
        own = shutil.copytree(source, folder.with_name("source")) if form == "editable" else source
        run([*pip, "install", "--quiet", *FORMS[form](built, own)], environment=AWAY)
        return folder

    with ThreadPoolExecutor() as pool:
        return {form: pool.submit(install, form) for form in FORMS}


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    """How the package was installed."""
    name: str = request.param
    return name


@pytest.fixture
def environment(environments: dict[str, Future[Path]], form: str) -> Path:
    """The environment it was installed into."""
    return environments[form].result()


@dataclasses.dataclass(eq=False)
class InstalledServer(RunningServer):
    """The server of an environment, started without a command."""

    python: Path = Path(sys.executable)

    def command(self) -> list[str]:
        """The command line."""
        return [str(self.python), "-m", "registry_wsgi", "--bind", self.host, "--workers", "1"]


def test_an_installed_registry_serves(environment: Path, tmp_path: Path) -> None:
    """``python -m registry_wsgi`` in an empty directory makes its data there and answers."""
    data = tmp_path / "registry-data"
    python = environment / "bin" / "python"
    with InstalledServer(data, environment=AWAY, python=python) as server:
        answer = server.http.get("/v2/")

    assert answer.body == b"{}"
    assert (data / "registry.sqlite3").exists()


def test_an_installed_registry_is_a_program(environment: Path, tmp_path: Path) -> None:
    """``registry-wsgi --version`` tells the version from any directory."""
    program = environment / "bin" / "registry-wsgi"
    done = run([program, "--version"], environment=AWAY, cwd=tmp_path)

    assert done.stdout == f"registry-wsgi {VERSION}\n"


def test_an_installed_registry_is_not_the_checkout(
    environment: Path, form: str, tmp_path: Path
) -> None:
    """It is imported from its environment, or from where it is edited; the schema is found there."""
    code = "import registry_wsgi; print(registry_wsgi.__file__)"
    python = environment / "bin" / "python"
    where = Path(run([python, "-c", code], environment=AWAY, cwd=tmp_path).stdout.strip()).parent
    editable = form == "editable"
    text = (where.parent if editable else where) / "schema.sql"

    assert where.is_relative_to(environment.parent)
    assert where.is_relative_to(environment) != editable
    assert not where.is_relative_to(CHECKOUT)
    assert text.read_text("utf-8") == SCHEMA


def test_a_checkout_finds_its_schema() -> None:
    """Run without being installed, the schema is the checkout's."""
    assert schema() == SCHEMA


# --- What is in the distributions -----------------------------------------------------------------


def test_a_wheel_is_the_package_alone(built: Path) -> None:
    """It has every module, the schema and the types' marker, and nothing of the tests or tools."""
    with zipfile.ZipFile(the_one(built, "*.whl")) as wheel:
        names = set(wheel.namelist())
    package = CHECKOUT / "registry_wsgi"
    modules = {path.relative_to(CHECKOUT).as_posix() for path in package.rglob("*.py")}

    assert modules <= names
    assert {"registry_wsgi/schema.sql", "registry_wsgi/py.typed"} <= names
    assert {name.partition("/")[0] for name in names} == {
        "registry_wsgi",
        f"registry_wsgi-{VERSION}.dist-info",
    }
    assert any(name.endswith("LICENSE") for name in names)


def test_a_wheel_asks_for_little(built: Path) -> None:
    """It needs three packages and Python 3.11; everything else is an extra."""
    with zipfile.ZipFile(the_one(built, "*.whl")) as wheel:
        text = wheel.read(f"registry_wsgi-{VERSION}.dist-info/METADATA").decode()
    metadata = email.parser.Parser().parsestr(text)
    needed = [value for value in metadata.get_all("Requires-Dist", []) if "extra ==" not in value]

    assert {value.split(">")[0].strip() for value in needed} == RUNTIME
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Version"] == VERSION
    assert {"htpasswd", "metrics", "dev"} <= set(metadata.get_all("Provides-Extra", []))


def test_an_sdist_is_all_that_is_needed_to_work_on_it(built: Path) -> None:
    """It has the schema, the settings of the tools, the tests and the documentation."""
    with tarfile.open(the_one(built, "*.tar.gz")) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    wanted = {
        "setup.cfg",
        "setup.py",
        "schema.sql",
        "LICENSE",
        "README.md",
        "Makefile",
        "ruff.toml",
    }
    tests = {path.relative_to(CHECKOUT).as_posix() for path in CHECKOUT.glob("tests/**/test_*.py")}
    docs = {path.relative_to(CHECKOUT).as_posix() for path in CHECKOUT.glob("docs/*.md")}

    assert (wanted | tests | docs) - names == set()
    assert not any("__pycache__" in name or name.endswith(".pyc") for name in names)
