"""Names and versions that stand in several files agree; the documents name commands that exist."""

from __future__ import annotations

import configparser
import importlib.util
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

import loratorio
import loratorio_ext
from loratorio_ext.cli.tools import find_demo_data
from loratorio_ext.server.words import folder_beside, language_files

# Folders beside the package in a checkout, as they are called in the wheel.
BESIDE = {"localizations": "localizations", "javascript": "javascript", "demo": "demo_data"}


@pytest.fixture(scope="module")
def pyproject(root: Path) -> str:
    # Read as text: tomllib is not in Python 3.10.
    return (root / "pyproject.toml").read_text("utf-8")


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what an installation would have."""
    folder = tmp_path_factory.mktemp("wheel")
    file = next(WheelBuilder(str(root)).build(directory=str(folder), versions=["standard"]))
    with zipfile.ZipFile(file) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


def files_below(folder: Path) -> dict[str, bytes]:
    """Path from the folder → content, without what Python itself writes there."""
    files = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def names(requirements: str) -> dict[str, str]:
    found = re.findall(r'"([A-Za-z0-9_-]+)(?:>=([0-9.]+))?"', requirements)
    return {name.lower().replace("_", "-"): version for name, version in found}


def test_the_version_is_written_once(root: Path, pyproject: str) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", loratorio_ext.__version__)
    assert 'dynamic = ["version"]' in pyproject
    assert 'path = "loratorio_ext/__init__.py"' in pyproject
    others = [root / "pyproject.toml", root / "metadata.ini", root / "install.py"]
    assert [
        path.name for path in others if re.search(r"(?m)^_*version_* *= *\"?\d", path.read_text("utf-8"))
    ] == []


def test_releases_are_dated_and_the_newest_is_this_version(root: Path) -> None:
    changes = (root / "CHANGELOG.md").read_text("utf-8")
    unreleased, *releases = re.findall(r"(?m)^## (.*)$", changes)
    assert unreleased == "[Unreleased]"
    dated = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (20\d\d-\d\d-\d\d)", release) for release in releases]
    assert all(dated)
    version, date = dated[0].groups()
    assert version == loratorio_ext.__version__
    citation = (root / "CITATION.cff").read_text("utf-8")
    assert f'\nversion: {version}\ndate-released: "{date}"\n' in citation


def test_the_public_names_are_those_of_the_extension() -> None:
    assert {*loratorio.__all__} == {*loratorio_ext.__all__, "__version__"}
    assert all(getattr(loratorio, name) is getattr(loratorio_ext, name) for name in loratorio.__all__)
    assert {*loratorio.__all__} <= {*dir(loratorio)}
    with pytest.raises(AttributeError, match="'loratorio' has no attribute 'composer'"):
        loratorio.composer  # noqa: B018 - reading it is the test


def test_metadata_ini_has_the_distribution_s_name(root: Path, pyproject: str) -> None:
    metadata = configparser.ConfigParser()
    metadata.read(root / "metadata.ini")
    name = metadata.get("Extension", "Name")
    assert f'\nname = "{name}"\n' in pyproject
    # The WebUI compares names in lower case and splits lists of them at spaces and commas.
    assert re.fullmatch(r"[a-z0-9_-]+", name)
    # By its folder's name; it changes networks in the hook in which we take them.
    assert metadata.get("scripts", "After") == "sd-webui-lora-block-weight"


def test_install_py_checks_what_pyproject_demands(root: Path, pyproject: str) -> None:
    specification = importlib.util.spec_from_file_location("house_install", root / "install.py")
    assert specification is not None and specification.loader is not None
    install = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(install)
    block = re.search(r"(?ms)^dependencies = \[(.*?)^\]", pyproject)
    assert block is not None
    assert names(block[1]) == {package: install.dotted(minimum) for package, minimum in install.MINIMA}
    assert f'requires-python = ">={install.dotted(install.PYTHON_MINIMUM)}"' in pyproject


def test_constraints_pin_every_direct_dependency_and_name_no_place(root: Path, pyproject: str) -> None:
    lines = [line for line in (root / "constraints.txt").read_text("utf-8").splitlines() if line[:1] != "#"]
    form = re.compile(r'([A-Za-z0-9_.-]+)==[0-9][0-9a-z.]*( ; python_version >= "3\.\d+")?')
    assert [line for line in lines if not form.fullmatch(line)] == []
    pinned = {re.split("==", line)[0].lower().replace("_", "-") for line in lines}
    blocks = re.findall(r"(?ms)^(?:dependencies|diffusers|lycoris|page|docs|dev) = \[(.*?)\]$", pyproject)
    assert len(blocks) == 6
    demanded = {name for block in blocks for name in names(block)}
    assert demanded - pinned == set()
    assert len(pinned) == len(lines)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_somewhere(page: str, root: Path) -> None:
    readme = (root / page).read_text("utf-8")
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", readme) + re.findall(
        r'src="(?!https?:)([^"]+)"', readme
    )
    assert [link for link in links if not (root / link).exists()] == []


def test_the_build_script_calls_make_test(root: Path) -> None:
    script = root / ".ci" / "run"
    assert os.access(script, os.X_OK)
    text = script.read_text("utf-8")
    assert "set -euo pipefail" in text
    assert "make test" in text


@pytest.mark.parametrize("package", ["loratorio", "loratorio_ext", "loratorio_lab"])
def test_the_wheel_has_every_file_of_the_packages(package: str, root: Path, wheel: Path) -> None:
    installed = files_below(wheel / package)
    beside = tuple(f"{name}/" for name in BESIDE.values())
    assert {path: data for path, data in installed.items() if not path.startswith(beside)} == files_below(
        root / package
    )
    assert sorted(path.name for path in wheel.iterdir() if not path.name.endswith(".dist-info")) == [
        "loratorio",
        "loratorio_ext",
        "loratorio_lab",
    ]


def test_a_page_without_its_style_is_hard_to_read(wheel: Path) -> None:
    assert [path for path in files_below(wheel / "loratorio_ext") if path.endswith(".css")]


def test_the_wheel_has_both_commands(wheel: Path) -> None:
    (file,) = wheel.glob("*.dist-info/entry_points.txt")
    commands = configparser.ConfigParser()
    commands.read_string(file.read_text("utf-8"))
    assert dict(commands["console_scripts"]) == {
        "loratorio": "loratorio_ext.cli.main:main",
        "loratorio-lab": "loratorio_lab.main:main",
    }


WITHOUT_LAB = """
import sys
from pathlib import Path
sys.modules["loratorio_lab"] = None  # importing it fails
from loratorio_ext.cli import demo, serve
from loratorio_ext.cli.generator import HostGenerator
from loratorio_ext.cli.main import main
assert Path(demo.__file__).is_relative_to(sys.argv[1]), demo.__file__
sys.exit(main([*sys.argv[2:], "--steps", "1", "--quiet"]))
"""


@pytest.mark.parametrize(
    ("kind", "command", "made"),
    [
        ("checkout", ["generate", "a star <lora:star:1>"], "outputs/generate/1-loratorio.png"),
        ("wheel", ["demo", "--pictures", "1"], "outputs/demo/index.html"),
    ],
    ids=["checkout", "wheel"],
)
def test_the_extension_works_without_the_laboratory(
    kind: str, command: list[str], made: str, root: Path, wheel: Path, tmp_path: Path
) -> None:
    place = root if kind == "checkout" else wheel
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_LAB, str(place), *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(place), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert (tmp_path / made).is_file()


@pytest.mark.parametrize("folder", BESIDE)
def test_the_wheel_has_what_lies_beside_the_package(folder: str, root: Path, wheel: Path) -> None:
    there = files_below(root / folder)
    assert there
    assert files_below(wheel / "loratorio_ext" / BESIDE[folder]) == there


def test_an_installed_package_finds_what_came_with_it(root: Path, wheel: Path) -> None:
    package = wheel / "loratorio_ext"
    assert language_files(package).keys() == language_files(root / "loratorio_ext").keys() != set()
    assert folder_beside("javascript", package) == package / "javascript"
    assert find_demo_data(package).folder == package / "demo_data"


def test_a_wheel_can_be_made_from_the_sdist(root: Path, wheel: Path, tmp_path: Path) -> None:
    file = next(SdistBuilder(str(root)).build(directory=str(tmp_path), versions=["standard"]))
    with tarfile.open(file) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    source = next((tmp_path / "unpacked").iterdir())
    again = next(WheelBuilder(str(source)).build(directory=str(tmp_path), versions=["standard"]))
    with zipfile.ZipFile(again) as archive:
        assert sorted(archive.namelist()) == sorted(files_below(wheel))
