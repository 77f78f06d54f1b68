"""Where languages and scripts are found: in a checkout and in an installed package."""

from __future__ import annotations

from pathlib import Path

from loratorio_ext.server.words import PACKAGE, folder_beside, language_files, words_in


def folder(place: Path) -> Path:
    place.mkdir(parents=True)
    return place


def test_a_checkout_has_them_beside_the_package(tmp_path: Path) -> None:
    package, beside = folder(tmp_path / "loratorio_ext"), folder(tmp_path / "javascript")
    assert folder_beside("javascript", package) == beside


def test_an_installed_package_looks_inside_first(tmp_path: Path) -> None:
    package = folder(tmp_path / "site-packages" / "loratorio_ext")
    folder(tmp_path / "site-packages" / "javascript")  # some other package's
    inside = folder(package / "javascript")
    assert folder_beside("javascript", package) == inside


def test_neither_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "localizations").touch()
    assert folder_beside("localizations", folder(tmp_path / "loratorio_ext")) is None
    assert language_files(tmp_path / "loratorio_ext") == {}


def test_this_project_has_both() -> None:
    script, languages = (folder_beside(name) for name in ("javascript", "localizations"))
    assert script is not None and (script / "loratorio.js").is_file()
    assert languages is not None and languages.parent in (PACKAGE, PACKAGE.parent)


def test_an_unknown_language_is_english(tmp_path: Path) -> None:
    for name in ("None", "xx_XX", "../de_DE", ""):
        assert words_in(name)("Who spoke where") == "Who spoke where"
