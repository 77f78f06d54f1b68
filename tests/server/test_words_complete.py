"""Every language file has exactly the texts that people read; the texts are read from the source.

A text is a literal handed to an object of `Words`, which is always called `words`, or to `Problem`; or the
label or the help of a setting or an option.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from loratorio_ext.server.options import OPTIONS
from loratorio_ext.server.words import Words, language_files, placeholders, words_in
from loratorio_ext.settings import SETTINGS

ROOT = Path(__file__).resolve().parents[2]
FILES = language_files()
LANGUAGES = sorted(FILES)


def words_of_calls(tree: ast.Module) -> Iterator[tuple[int, ast.expr]]:
    """(line, first argument) of `words(...)`, `self.words(...)`, `server.words()(...)` and `Problem(...)`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func.func if isinstance(node.func, ast.Call) else node.func
            name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "").lstrip("_")
            asks_for_words = not (node.args or node.keywords)  # `server.words()`
            if name in ("words", "Problem") and not asks_for_words:
                yield node.lineno, node.args[0] if node.args else node.keywords[0].value


def texts_of(tree: ast.Module) -> tuple[dict[str, int], list[int]]:
    """Texts with a line where each stands, and lines whose text cannot be read from the source."""
    texts, unreadable = {}, []
    for line, first in words_of_calls(tree):
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            texts[first.value] = line
        # The label or the help of a setting: all of them are taken from SETTINGS.
        elif not (isinstance(first, ast.Attribute) and first.attr in ("label", "help")):
            unreadable.append(line)
    return texts, unreadable


def words_under_other_names(tree: ast.Module) -> Iterator[int]:
    """Lines that give words another name, under which this test would not see their calls."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.annotation is not None:
            if "Words" in ast.unparse(node.annotation).split(" | ") and node.arg != "words":
                yield node.lineno
        elif isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [ast.unparse(one).split(".")[-1] for one in targets]
            if makes_words(node.value) and names != ["words"]:
                yield node.lineno


def makes_words(call: ast.Call) -> bool:
    """`server.words()`, `Words(...)` or `words_in(...)`."""
    if isinstance(call.func, ast.Attribute):
        return call.func.attr == "words" and not call.args
    return isinstance(call.func, ast.Name) and call.func.id in ("Words", "words_in")


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((ROOT / "loratorio_ext").rglob("*.py")):
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text("utf-8"))


def shown_by_settings() -> dict[str, str]:
    """Text → where it stands."""
    shown: dict[str, str] = {}
    for one in SETTINGS:
        shown |= {one.label: f"label of {one.name}", one.help: f"help of {one.name}"}
    for one in OPTIONS:
        # The WebUI's settings page puts help in brackets (modules/options.py) and translates the whole.
        shown |= {one.label: f"label of the option {one.name}", f"({one.help})": f"its help ({one.name})"}
    return shown


def demanded() -> dict[str, str]:
    """Every text that people read → where it stands."""
    found = shown_by_settings()
    for path, tree in sources():
        texts, _ = texts_of(tree)
        found |= {text: f"{path}:{line}" for text, line in texts.items()}
    return found


def read(language: str) -> list[tuple[str, str]]:
    """The file's pairs as they stand in it; a text twice is two pairs."""
    pairs: list[tuple[str, str]] = json.loads(
        FILES[language].read_text("utf-8"), object_pairs_hook=lambda found: found
    )
    return pairs


def joints(text: str) -> tuple[str, str, bool]:
    """Spaces and a comma at the ends, and whether all of it stands in brackets."""
    return (
        text[: len(text) - len(text.lstrip(" ,"))],
        text[len(text.rstrip(" ,")) :],
        text[0] + text[-1] == "()",
    )


def lines(texts: dict[str, str]) -> str:
    return "".join(
        f"\n  {json.dumps(text, ensure_ascii=False)}: …   ({place})" for text, place in texts.items()
    )


def test_every_text_can_be_read_from_the_source() -> None:
    unreadable = [f"{path}:{line}" for path, tree in sources() for line in texts_of(tree)[1]]
    assert unreadable == [], "give words a literal here, or the label or help of a setting"


def test_words_are_always_called_words() -> None:
    hidden = [f"{path}:{line}" for path, tree in sources() for line in words_under_other_names(tree)]
    assert hidden == [], "call it `words`, so that its texts are found"


def test_there_is_a_language() -> None:
    assert "de_DE" in LANGUAGES


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_is_missing(language: str) -> None:
    there = dict(read(language))
    missing = {text: place for text, place in demanded().items() if text not in there}
    assert not missing, f"localizations/{language}.json lacks {len(missing)} texts; add:{lines(missing)}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_is_left_over(language: str) -> None:
    wanted = demanded()
    left_over = dict.fromkeys((text for text, _ in read(language) if text not in wanted), "nobody shows it")
    assert not left_over, f"take out of localizations/{language}.json:{lines(left_over)}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_file_is_in_order(language: str) -> None:
    keys = [key for key, _ in read(language)]
    assert keys == sorted(set(keys)), "sort the texts; each stands once"


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_fit_the_english_ones(language: str) -> None:
    wrong = {}
    for english, text in read(language):
        if not isinstance(text, str) or not text.strip():
            wrong[english] = "is empty"
        elif placeholders(text) != placeholders(english):
            wrong[english] = "other placeholders"
        elif joints(text) != joints(english):
            wrong[english] = "begins or ends otherwise, where it is joined to other texts"
        # The WebUI writes the whole file into a script of its page (modules/ui_gradio_extensions.py).
        elif "</" in text or "<!" in text:
            wrong[english] = "would end the script that holds it"
    assert not wrong, f"localizations/{language}.json:{lines(wrong)}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_translation_is_not_translated_again(language: str) -> None:
    """A WebUI's page also looks up what the server has translated already."""
    texts = dict(read(language))
    assert {key: text for key, text in texts.items() if texts.get(text, text) != text} == {}


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_speak_the_language(language: str) -> None:
    words, english = words_in(language), Words()
    for text, translated in read(language):
        values = {name: f"<{name}>" for name in placeholders(text)}
        assert words(text, **values) == (translated.format(**values) if values else translated)
        assert english(text, **values) == (text.format(**values) if values else text)


def test_german_is_german() -> None:
    words = words_in("de_DE")
    assert words("seed {seed}", seed=7) == "Seed 7"
    assert words("Who spoke where") == "Wer wo gesprochen hat"
    assert {one.name for one in SETTINGS if words(one.help) == one.help} == set()


@pytest.mark.parametrize(
    ("code", "texts", "unreadable"),
    [
        ("words('a ' 'b', n=1)", {"a b"}, 0),
        ("server.words()('a')", {"a"}, 0),
        ("self.words('a'); self._words('b')", {"a", "b"}, 0),
        ("words(text='a')", {"a"}, 0),
        ("words(one.label) + words(one.help)", set(), 0),
        ("words(f'a {b}')", set(), 1),
        ("words('a' if b else 'c')", set(), 1),
        ("Problem('a {b}', {'b': 1}); problem('c')", {"a {b}"}, 0),
        ("Problem(f'a {b}')", set(), 1),
        ("words(one.name)", set(), 1),
        ("server.words(); other('a'); _words(language)", set(), 0),
    ],
)
def test_what_is_found_in_a_source(code: str, texts: set[str], unreadable: int) -> None:
    found, lines_without = texts_of(ast.parse(code))
    assert (set(found), len(lines_without)) == (texts, unreadable)


@pytest.mark.parametrize(
    ("code", "hidden"),
    [
        ("def f(words: Words | None = None): words = server.words()", 0),
        ("def f(say: Words): pass", 1),
        ("def f(said: WordsOfAnother): pass", 0),
        ("say = server.words()", 1),
        ("self.say: Words = words_in('de')", 1),
    ],
)
def test_another_name_is_seen(code: str, hidden: int) -> None:
    assert len(list(words_under_other_names(ast.parse(code)))) == hidden
