"""The contents of the wheel. Every kind of install finds conf/ and recipes/.

The tests build a copy without isolation, so they need setuptools but no network.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
YAMLS = {
    str(path.relative_to(ROOT))
    for name in ("conf", "recipes")
    for path in (ROOT / name).rglob("*.yaml")
}
RECIPES = sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml"))


def code_folders(root: Path) -> set[str]:
    return {
        ".".join(path.parent.relative_to(root).parts)
        for package in ("cait_tf", "cait_finetune")
        for path in (root / package).rglob("*.py")
    }


def pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr


def cait_finetune(path: Path | str, cwd: Path, *arguments: str) -> str:
    """Run the command from `cwd` with the package found at `path` only."""
    environment = {**os.environ, "PYTHONPATH": str(path), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "cait_finetune", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def where(path: Path | str, cwd: Path) -> Path:
    """Return the file that ``import cait_finetune`` loads."""
    return Path(
        subprocess.run(
            [sys.executable, "-c", "import cait_finetune; print(cait_finetune.__file__)"],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(path), "PYTHONSAFEPATH": "1"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    )


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the built files, so that a build leaves no files in the original."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("cait_tf", "cait_finetune", "conf", "recipes"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, checkout)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("installed")
    pip("install", "--no-deps", "--target", folder, wheel)
    return folder


@pytest.fixture(scope="module")
def editable(checkout, tmp_path_factory):
    """The folder in which an editable install writes its reference to the checkout."""
    folder = tmp_path_factory.mktemp("editable")
    pip(
        *("install", "--no-deps", "--no-build-isolation", "--prefix", folder, "--ignore-installed"),
        *("--editable", checkout),
    )
    (packages,) = {path.parent for path in folder.rglob("*.dist-info")}
    return packages


def test_the_list_of_packages_is_complete():
    listed = PROJECT["tool"]["setuptools"]["packages"]
    assert len(listed) == len(set(listed))
    assert set(listed) == code_folders(ROOT) | {"cait_finetune.conf", "cait_finetune.recipes"}


def test_every_code_folder_is_a_package():
    for name in code_folders(ROOT):
        assert (ROOT / name.replace(".", "/") / "__init__.py").is_file(), name


def test_only_the_package_states_the_version(wheel):
    import cait_finetune as package

    assert "version" not in PROJECT["project"]
    assert Path(wheel).name.split("-")[1] == package.__version__


def test_the_wheel_holds_every_module_and_every_data_file(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    code = {
        str(path.relative_to(ROOT))
        for package in ("cait_tf", "cait_finetune")
        for path in (ROOT / package).rglob("*.py")
    }
    yamls = {f"cait_finetune/{name}" for name in YAMLS}
    files = {name for name in names if ".dist-info/" not in name}
    assert YAMLS
    weights = {str(path.relative_to(ROOT)) for path in (ROOT / "cait_tf/pretrained").iterdir()}
    assert files == code | yamls | weights | {"cait_tf/imagenet_classes.txt"}


def test_the_wheel_has_the_command_and_the_licence(wheel):
    archive = zipfile.ZipFile(wheel)
    (entry,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
    assert "cait-finetune = cait_finetune.__main__:main" in archive.read(entry).decode()
    assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())


def test_the_checkout_finds_its_configuration_from_elsewhere(tmp_path):
    assert "name: cait_nano_32" in cait_finetune(ROOT, tmp_path, "--cfg", "job")


def test_the_wheel_finds_its_configuration(installed, tmp_path):
    assert where(installed, tmp_path).is_relative_to(installed)
    assert "name: cait_nano_32" in cait_finetune(installed, tmp_path, "--cfg", "job")
    assert RECIPES
    cait_finetune(installed, tmp_path, "-cn", RECIPES[0], "--cfg", "job")


def test_an_editable_install_finds_its_configuration(editable, checkout, tmp_path):
    """A .pth file starts the import hook of the install, so the script needs site.addsitedir."""
    script = (
        # The environment may itself have an editable install, whose hook has the same name.
        "import site, sys; sys.meta_path = [finder for finder in sys.meta_path"
        " if not getattr(finder, '__module__', '').startswith('__editable__')];"
        "[sys.modules.pop(name) for name in list(sys.modules) if name.startswith('__editable__')];"
        f"sys.path.insert(0, {str(editable)!r}); site.addsitedir({str(editable)!r});"
        "import cait_finetune;"
        f"assert cait_finetune.__file__.startswith({str(checkout)!r}), cait_finetune.__file__;"
        f"sys.argv = ['cait_finetune', '-cn', {RECIPES[0]!r}, '--cfg', 'job'];"
        "from cait_finetune.commands.train import main; main()"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "name: cait_" in done.stdout
