"""From a tag's name to a file, and never out of the folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st

from loratorio_ext.networks.arguments import OwnArguments
from loratorio_ext.networks.files import NetworkFileError, NetworkFolder, UnknownNetworkError
from loratorio_ext.networks.prompt import Tag


def find_network(name: str, folder: str | Path) -> Path:
    return NetworkFolder(folder).find(name)


@pytest.fixture
def folder(write: Any, tmp_path: Path) -> Path:
    for name in ("ink", "style/chalk", "b/twin", "Case", "case2/case"):
        write({"x": torch.ones(1)}, None, f"loras/{name}.safetensors")
    for name, alias in (("Watercolour.v1.2", "wash"), ("style/deep/oil", "INK"), ("a/twin", "first_twin")):
        write({"x": torch.ones(1)}, {"ss_output_name": alias}, f"loras/{name}.safetensors")
    write({"x": torch.ones(1)}, None, "outside.safetensors")
    (tmp_path / "loras" / "broken.safetensors").write_bytes(b"no")
    (tmp_path / "loras" / "old.pt").write_bytes(b"no")
    (tmp_path / "loras" / "notes.txt").write_text("no")
    return tmp_path / "loras"


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("ink", "ink"),
        ("INK", "ink"),  # a stem in any case goes before an alias in this case
        ("ink.safetensors", "ink"),
        ("Watercolour.v1.2", "Watercolour.v1.2"),
        ("watercolour.V1.2", "Watercolour.v1.2"),
        ("wash", "Watercolour.v1.2"),
        ("chalk", "style/chalk"),
        ("style/chalk", "style/chalk"),
        ("style\\chalk", "style/chalk"),
        ("Style/Deep/OIL", "style/deep/oil"),
        ("a/twin", "a/twin"),
        ("first_twin", "a/twin"),
        ("Case", "Case"),
        ("case", "case2/case"),
        ("broken", "broken"),
    ],
)
def test_names(name: str, file: str, folder: Path) -> None:
    assert find_network(name, folder) == (folder / f"{file}.safetensors").resolve()
    assert find_network(name, str(folder)).is_file()


def test_ambiguous_names_are_not_guessed(folder: Path) -> None:
    with pytest.raises(UnknownNetworkError, match="2 files answer") as caught:
        find_network("twin", folder)
    assert caught.value.near == ("a/twin", "b/twin")
    assert all(find_network(name, folder) for name in caught.value.near)
    with pytest.raises(UnknownNetworkError, match="2 files answer"):
        find_network("CASE", folder)


def test_a_listed_name_is_never_ambiguous(write: Any, tmp_path: Path) -> None:
    for name in ("twin", "a/twin", "b/TWIN"):
        write({"x": torch.ones(1)}, None, f"loras/{name}.safetensors")
    folder = NetworkFolder(tmp_path / "loras")
    assert list(folder) == ["a/twin", "b/TWIN", "twin"]
    assert {name: folder.locate(name) for name in folder} == dict(folder)
    assert folder.find("twin").parent.name == "loras" and folder.find("b/twin").stem == "TWIN"


@pytest.mark.parametrize(
    ("name", "near"),
    [("inc", "ink"), ("chalkk", "chalk"), ("wsh", "wash"), ("Watercolor.v1.2", "Watercolour.v1.2")],
)
def test_misspelt_names_get_near_matches(name: str, near: str, folder: Path) -> None:
    with pytest.raises(UnknownNetworkError, match="did you mean") as caught:
        find_network(name, folder)
    assert caught.value.name == name and near in caught.value.near


@pytest.mark.parametrize(
    "name",
    [
        *("../outside", "..\\outside", "style/../../outside", "/etc/passwd", "", ".", "..", "a\x00b", "a\nb"),
        *("x" * 5000, "style//chalk", "notes", "*", "outside"),
    ],
)
def test_nothing_outside_is_found(name: str, folder: Path) -> None:
    with pytest.raises(UnknownNetworkError) as caught:
        find_network(name, folder)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_absolute_names_are_refused_even_inside(folder: Path) -> None:
    with pytest.raises(UnknownNetworkError):
        find_network(str((folder / "ink").resolve()), folder)


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs links")
def test_links(folder: Path, tmp_path: Path) -> None:
    (folder / "out.safetensors").symlink_to(tmp_path / "outside.safetensors")
    (folder / "outdir").symlink_to(tmp_path)
    (folder / "inside.safetensors").symlink_to(folder / "ink.safetensors")
    (folder / "dead.safetensors").symlink_to(folder / "nothing.safetensors")
    for name in ("out", "outdir/outside", "outside", "dead"):
        with pytest.raises(UnknownNetworkError):
            find_network(name, folder)
    assert find_network("inside", folder).is_file()
    linked = tmp_path / "linked"
    linked.symlink_to(folder)
    assert find_network("ink", linked) == (folder / "ink.safetensors").resolve()


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs links")
def test_skipped_links_are_told(folder: Path, tmp_path: Path) -> None:
    (folder / "inside.safetensors").symlink_to(folder / "ink.safetensors")
    (folder / "dead.safetensors").symlink_to(tmp_path / "nothing.safetensors")
    (folder / "self.safetensors").symlink_to(folder / "self.safetensors")
    (folder / "notes2.txt").symlink_to(tmp_path / "outside.safetensors")
    with pytest.raises(UnknownNetworkError, match="has this name") as caught:
        find_network("qqqq", folder)
    assert "lead out" not in str(caught.value)
    (folder / "out.safetensors").symlink_to(tmp_path / "outside.safetensors")
    (folder / "style" / "shared").symlink_to(tmp_path)
    for name in ("out", "outside", "shared/outside"):
        with pytest.raises(UnknownNetworkError, match=r"lead out of the folder are skipped \(2 here\)"):
            find_network(name, folder)


@pytest.mark.parametrize(
    ("file", "names"),
    [
        ("v1.safetensors", ["v1.safetensors", "v1.safetensors.safetensors", "V1.Safetensors"]),
        ("ink ", ["ink", "ink ", "Ink"]),
        ("epoch=10", ["epoch=10"]),
    ],
)
def test_odd_names_of_files_are_found(file: str, names: list[str], write: Any, tmp_path: Path) -> None:
    path = write({"x": torch.ones(1)}, None, f"loras/{file}.safetensors")
    for name in names:
        assert find_network(name, tmp_path / "loras") == path.resolve()


def test_hints_for_folders_and_quotes(folder: Path, write: Any) -> None:
    for name in ("knight/pytorch_lora_weights", "castle/unet/adapter_model", "b2/pytorch_lora_weights"):
        write({"x": torch.ones(1)}, None, f"loras/{name}.safetensors")
    with pytest.raises(UnknownNetworkError, match="did you mean 'knight/pytorch_lora_weights'") as caught:
        find_network("Knight", folder)
    assert caught.value.near[0] == "knight/pytorch_lora_weights"
    with pytest.raises(UnknownNetworkError, match="did you mean 'adapter_model'") as caught:
        find_network("castle", folder)
    with pytest.raises(UnknownNetworkError, match="'ink'.*without quotes") as caught:
        find_network('"ink"', folder)
    assert "ink" in caught.value.near


def test_an_alias_of_two_files_is_not_guessed(folder: Path, write: Any) -> None:
    """The WebUI takes the last of them (extensions-builtin/Lora/networks.py, list_available_networks)."""
    write({"x": torch.ones(1)}, {"ss_output_name": "wash"}, "loras/other.safetensors")
    with pytest.raises(UnknownNetworkError, match="2 files answer") as caught:
        find_network("wash", folder)
    assert set(caught.value.near) == {"Watercolour.v1.2", "other"}


def test_only_a_pickle_has_the_name(folder: Path) -> None:
    with pytest.raises(NetworkFileError, match=r"old\.pt.*\.safetensors version"):
        find_network("old", folder)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UnknownNetworkError, match="there is no folder"):
        find_network("ink", tmp_path / "nothing")
    assert list(NetworkFolder(tmp_path / "nothing")) == []


def test_all_names_find_their_files(folder: Path) -> None:
    names = list(NetworkFolder(folder))
    assert {"ink", "chalk", "a/twin", "b/twin", "Case", "case2/case"} <= set(names)
    assert len({find_network(name, folder) for name in names}) == len(names) == 9


def test_tags_that_name_one_file_are_one_network(folder: Path) -> None:
    networks = NetworkFolder(folder)
    tags = (Tag("ink", 0.3), Tag("nobody"), Tag("wash"), Tag("INK.safetensors", 0.5, 0.7), Tag("twin"))
    kept, problems = networks.one_per_file((*tags, Tag("watercolour.v1.2", own=OwnArguments(compose=False))))
    assert kept == [tags[3], tags[1], Tag("watercolour.v1.2", own=OwnArguments(compose=False)), tags[4]]
    assert [str(one) for one in problems] == [
        "'ink' and 'INK.safetensors' are the same network; the last tag counts",
        "'wash' and 'watercolour.v1.2' are the same network; the last tag counts",
    ]


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.lists(
        st.sampled_from(["..", "/", "\\", "outside", "loras", "ink", ".safetensors", "\x00", "~", "C:"]),
        max_size=6,
    ).map("".join)
)
def test_whatever_is_found_lies_inside(name: str, folder: Path) -> None:
    networks = NetworkFolder(folder)
    try:
        found = networks.find(name)
    except (UnknownNetworkError, NetworkFileError):
        assert networks.locate(name) is None
        return
    assert networks.locate(name) == found.relative_to(folder.resolve()).with_suffix("").as_posix()
    assert found.is_relative_to(folder.resolve()) and found.suffix == ".safetensors"
