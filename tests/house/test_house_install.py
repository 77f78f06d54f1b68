"""install.py says what is missing, installs nothing and never stops the WebUI."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings, strategies as st


@pytest.fixture
def install(root: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location("install_under_test", root / "install.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def with_versions(install: ModuleType, monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    def version(package: str) -> str:
        if package not in versions:
            raise metadata.PackageNotFoundError(package)
        return versions[package]

    monkeypatch.setattr(install.metadata, "version", version)


GOOD = {"torch": "2.1.2+cu121", "einops": "0.4.1", "safetensors": "0.4.2", "numpy": "1.26.2"}


def test_silent_where_all_is_well(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_versions(install, monkeypatch, **GOOD)
    install.main()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("package", "version", "said"),
    [
        ("torch", "2.0.1+cu118", "torch is 2.0.1+cu118, but 2.1 or newer is needed"),
        ("torch", None, "torch is not installed, but 2.1 or newer is needed"),
        ("einops", "0.3.2", "einops is 0.3.2, but 0.4.1 or newer is needed"),
        ("numpy", "1.23.5", "numpy is 1.23.5, but 1.26 or newer is needed"),
        ("safetensors", "0.3.3rc1", "safetensors is 0.3.3rc1, but 0.4.2 or newer is needed"),
    ],
)
def test_says_what_is_too_old(
    install: ModuleType,
    package: str,
    version: str | None,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    versions = {**GOOD, package: version}
    with_versions(install, monkeypatch, **{name: value for name, value in versions.items() if value})
    install.main()
    out = capsys.readouterr().out
    assert said in out
    assert out.count("\n") == 1
    assert out.count("is needed") == 1
    assert "installs nothing" in out


def test_an_old_python_is_named(install: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    with_versions(install, monkeypatch, **GOOD)
    monkeypatch.setattr(install, "PYTHON_MINIMUM", (99, 0))
    assert install.problems()[0].startswith("Python is 3.")


@pytest.mark.parametrize("error", [OSError("broken"), ValueError("odd"), RuntimeError("?")])
def test_never_raises(
    install: ModuleType,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(package: str) -> str:
        raise error

    monkeypatch.setattr(install.metadata, "version", broken)
    install.main()
    assert "could not check" in capsys.readouterr().out


@given(text=st.text(max_size=30))
@settings(max_examples=50, deadline=None)
def test_any_version_text_can_be_read(text: str) -> None:
    path = Path(__file__).resolve().parents[2] / "install.py"
    specification = importlib.util.spec_from_file_location("install_for_text", path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    assert all(isinstance(number, int) for number in module.release(text))


@pytest.mark.parametrize("text", ["v2.1", " 2.1.0a0+git", "2.1"])
def test_odd_but_new_enough(install: ModuleType, text: str) -> None:
    assert install.release(text) >= (2, 1)


def test_runs_as_the_webui_runs_it(root: Path, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, root / "install.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
