"""What pages and API are told of both WebUIs, and the options that are in force."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from loratorio_ext.hosts import find
from loratorio_ext.hosts.webuis import generation
from loratorio_ext.server.options import OPTIONS, Options, option_key
from loratorio_ext.settings import Settings

PROMPT = "a cat <lora:te:1> <lora:lin:1>"


def test_name_and_version(running: Any) -> None:
    server = running.server
    versions = {"a1111": ("AUTOMATIC1111", "v1.10.1"), "forge": ("Forge", "f2.0.1")}
    name, version = versions[running.name]
    assert server.host == name and server.version.startswith(version)
    assert server.merged_on_top is (running.name == "a1111")
    assert server.splits_at_and
    assert server.obstacle() is None


def test_a_checkout_without_tags_has_no_version(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["modules.launch_utils"], "git_tag", lambda: "<none>")
    assert find.this_webui().server.version == ""


def test_asking_for_the_obstacle_loads_no_model(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(running.webui.shared, "sd_model")
    assert running.server.obstacle() is None


def test_a_replaced_unet_is_an_obstacle(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if running.name == "forge":
        pytest.skip("Forge has no such replacement")
    monkeypatch.setattr(running.webui.sd_unet, "current_unet", object())
    assert "replaced by object" in running.server.obstacle()


def test_a_model_that_not_everything_can_be_composed_with_is_foretold(
    running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if running.name == "forge":
        pytest.skip("Forge has no guidance by three predictions")
    monkeypatch.setattr(running.webui.shared.sd_model, "cond_stage_key", "edit")
    foretold = running.server.obstacle()
    assert "image CFG scale other than 1" in foretold
    _, p = running.draw(PROMPT, {}, image_cfg_scale=1.5)
    assert any(foretold in comment for comment in p.comments)
    for scale in (None, 1.0):  # all else is composed
        _, p = running.draw(PROMPT, {}, image_cfg_scale=scale)
        assert p.comments == {}
    assert len(running.server.history.records()) == 2


def test_networks_by_name_and_alias_and_those_that_come_later(running: Any) -> None:
    networks = running.server.networks()
    assert networks["lin"] == "lin" and networks["lin2"] == "sub/lin2"
    folder = running.webui.folder
    (folder / "sub" / "later.safetensors").write_bytes((folder / "lin.safetensors").read_bytes())
    assert "later" not in running.server.networks()
    running.server.refresh()
    assert running.server.networks()["later"] == "sub/later"


def test_a_name_is_known_if_and_only_if_the_webui_finds_it(running: Any) -> None:
    folder = running.webui.folder
    tensors = load_file(folder / "lin.safetensors")
    for name, alias in (("one", "shared"), ("two", "shared"), ("three", "own"), ("Four", "One")):
        save_file(tensors, folder / f"{name}.safetensors", {"ss_output_name": alias})
    running.server.refresh()
    networks = running.server.networks()
    found = {}
    for name in ("one", "two", "three", "Four", "shared", "Shared", "own", "One", "ONE", "one.safetensors"):
        try:
            running.webui.networks.load_networks([name], [1.0], [1.0], [None])
        except AttributeError:  # Forge's loader on a name that finds no file
            continue
        for one in running.webui.networks.loaded_networks:
            found[name] = one.network_on_disk.name
    assert {name: path for name, path in networks.items() if path in set(found.values())} == found
    assert set(found) == {"one", "two", "three", "Four", "own", "One"}


def test_options_are_the_webui_s(running: Any) -> None:
    assert running.server.options() == Options()
    running.opts.loratorio_rows = 12
    running.opts.loratorio_overlay = "gallery"
    running.opts.loratorio_history = "many"
    assert running.server.options() == Options(rows=12, overlay="gallery")
    assert {option_key(one.name) for one in OPTIONS} >= {"loratorio_rows", "loratorio_network_memory"}


def test_the_page_s_language(running: Any) -> None:
    text = "no step lies between Start and End, so the networks act merged"
    assert running.server.words()(text) == text
    running.opts.localization = "no language of this world"
    assert running.server.words()(text) == text


def test_presets_lie_beside_the_webui_s_own_files(
    running: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys.modules["modules.paths_internal"], "data_path", str(tmp_path / "data"))
    presets = find.this_webui().server.presets
    assert presets.can_save
    presets.save("mine", Settings(patch_size=4))
    assert (tmp_path / "data" / "loratorio-presets.json").is_file()
    assert find.this_webui().server.presets.all()["mine"]["patch_size"] == 4


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (None, None),
        ("", None),
        ("me:secret", {"me": "secret"}),
        ("me:secret,you: s p ,:", {"me": "secret", "you": " s p ", "": ""}),
        ("me:first,me:second", {"me": "second"}),
    ],
)
def test_credentials_as_the_webui_reads_them(running: Any, text: str | None, wanted: object) -> None:
    running.webui.shared.cmd_opts.api_auth = text
    assert find.this_webui().services.api() is None
    for argument in ("api", "nowebui"):
        setattr(running.webui.shared.cmd_opts, argument, True)
        api = find.this_webui().services.api()
        assert api is not None and api.credentials == wanted
        assert "secret" not in repr(api)
        setattr(running.webui.shared.cmd_opts, argument, False)


@pytest.mark.parametrize("text", ["me", "me:a:b", "me:secret,", "me:secret, you"])
def test_credentials_that_cannot_be_read_open_no_door(running: Any, text: str) -> None:
    running.webui.shared.cmd_opts.api = True
    running.webui.shared.cmd_opts.api_auth = text
    with pytest.raises(ValueError, match="user:password") as caught:
        find.this_webui().services.api()
    assert "secret" not in str(caught.value)


def test_without_the_lora_extension_the_script_still_says_why(
    running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(find, "import_module", missing)
    server = find.this_webui().server
    assert "its Lora extension" in str(server.obstacle())
    assert server.networks() == {} and not server.presets.can_save and server.presets.all()
    assert find.this_webui().services is None
    server.refresh()


def test_limits_are_asked_for_at_every_pass(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    memory: list[int] = []
    module: Any = generation

    class WatchedRouter(module.Router):  # type: ignore[name-defined, misc]
        def __init__(self, *arguments: Any, cache_bytes: int) -> None:
            super().__init__(*arguments, cache_bytes=cache_bytes)
            memory.append(cache_bytes)

    monkeypatch.setattr(module, "Router", WatchedRouter)
    running.opts.loratorio_rows, running.opts.loratorio_network_memory = 2, 7

    def change(params: Any) -> None:
        if params.denoiser.step == 1:  # the pass has begun
            running.opts.loratorio_rows, running.opts.loratorio_network_memory = 1, 0

    running.before_call(change)
    _, p = running.draw(PROMPT, {"batch_rows": 3}, hr_prompts=[PROMPT])
    first, hires = (one.report for one in running.server.history.records()[0].run.passes)
    assert (first.settings.batch_rows, hires.settings.batch_rows) == (2, 1)
    assert hires.totals.calls > first.totals.calls
    assert (memory[0], memory[-1]) == (7 * 2**20, 0)
    assert p.extra_generation_params["LoRAtorio batch rows"] == "3"  # what the user asked for


def test_no_more_rows_share_a_call_than_the_limit_says(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    module: Any = generation
    original = module.Router.routing

    def watched(self: Any, strengths: Any) -> Any:
        rows.append(len(strengths))
        return original(self, strengths)

    monkeypatch.setattr(module.Router, "routing", watched)
    running.draw([PROMPT] * 2, {"recenter": 0.5})
    unlimited = max(rows)
    rows.clear()
    running.opts.loratorio_rows = 3
    running.draw([PROMPT] * 2, {"recenter": 0.5})
    assert unlimited > 3 >= max(rows) > 0
