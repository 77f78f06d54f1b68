"""Words of a language: a file that was edited by hand breaks no page."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from loratorio_ext.server.words import (
    ENGLISH,
    PACKAGE,
    Words,
    folder_beside,
    language_files,
    placeholders,
    words_in,
)

TEXT = "{count} networks of {name}"


def test_english_needs_no_file(tmp_path: Path) -> None:
    for language in (ENGLISH, "", "../words", "../de_DE", "no such language"):
        assert words_in(language)("Who spoke where") == "Who spoke where"
        assert words_in(language, tmp_path)(TEXT, count=2, name="a pool") == "2 networks of a pool"


def test_neither_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "localizations").touch()
    assert folder_beside("localizations", tmp_path / "loratorio_ext") is None
    assert language_files(tmp_path / "loratorio_ext") == {}


def test_this_project_has_both() -> None:
    script, languages = (folder_beside(name) for name in ("javascript", "localizations"))
    assert script is not None and (script / "loratorio.js").is_file()
    assert languages is not None and languages.parent in (PACKAGE, PACKAGE.parent)


def test_a_language_file_beside_the_package_and_inside_it(tmp_path: Path) -> None:
    package = tmp_path / "loratorio_ext"
    for folder, text in ((package, "inside"), (tmp_path, "beside")):
        (folder / "localizations").mkdir(parents=True)
        (folder / "localizations" / "xx.json").write_text(json.dumps({"off": text}), encoding="utf-8")
    # Beside an installed package the folder may be somebody else's.
    assert words_in("xx", package)("off") == "inside"
    (package / "localizations" / "xx.json").unlink()
    (package / "localizations").rmdir()
    assert words_in("xx", package)("off") == "beside"
    assert list(language_files(package)) == ["xx"]


LOST_PLACES = ("{count} Netze", "{count} Netze {name} {other}", "{count} Netze {name", "{0} {name}")
OTHER_PLACES = ("{count!z} {name}", "{count} {name:d}", "{count} {name.__class__}", "}{", "")


@pytest.mark.parametrize("translated", [*LOST_PLACES, *OTHER_PLACES])
def test_a_translation_that_lost_its_places_is_not_used(translated: str) -> None:
    words = Words({TEXT: translated})
    assert words(TEXT, count=2, name="x") == "2 networks of x"


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'"x"', b"null", b"\xff\xfe{}", b"[" * 100_000, b'{"off": "aus",}', b"1" * 9999],
)
def test_a_file_that_cannot_be_read_is_said_once_and_english(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "localizations").mkdir()
    file = tmp_path / "localizations" / "xx.json"
    file.write_bytes(content)
    package = tmp_path / "loratorio_ext"
    with caplog.at_level(logging.WARNING, "loratorio"):
        assert [words_in("xx", package)("off") for _ in range(3)] == ["off"] * 3
    (warning,) = caplog.records
    assert "xx.json" in warning.getMessage() and "English" in warning.getMessage()


def test_a_file_that_was_mended_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "localizations").mkdir()
    file = tmp_path / "localizations" / "xx.json"
    for place, (content, said) in enumerate([("{", "off"), ('{"off": "aus", "on": 1}', "aus")]):
        file.write_text(content, encoding="utf-8")
        os.utime(file, (place, place))
        assert words_in("xx", tmp_path / "loratorio_ext")("off") == said
    assert words_in("xx", tmp_path / "loratorio_ext")("on") == "on"


def test_places_may_change_their_order() -> None:
    words = Words({TEXT: "{name}: {count} Netze, {count}"})
    assert words(TEXT, count=2, name="{x}") == "{x}: 2 Netze, 2"


@given(translated=st.text(max_size=30))
def test_any_translation_gives_a_text(translated: str) -> None:
    words = Words({TEXT: translated, "off": translated})
    shown = words(TEXT, count=2, name="x")
    assert shown == "2 networks of x" or placeholders(translated) == {"count", "name"}
    assert words("off") in ("off", translated)


@given(text=st.text(max_size=30))
def test_places_of_any_text(text: str) -> None:
    assert isinstance(placeholders(text), frozenset)
