"""What pages and API are told of a WebUI, and the options that are in force."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from loratorio_ext.networks.router import Router
from loratorio_ext.server.options import OPTIONS, Options, option_key
from loratorio_ext.settings import Settings

PROMPT = "a cat <lora:te:1> <lora:lin:1>"


def test_name_and_version(webui: Any) -> None:
    server = webui.server
    host, version, merged_on_top = webui.standin.SAID
    assert server.host == host and server.version.startswith(version)
    assert server.merged_on_top is merged_on_top
    assert server.splits_at_and
    assert server.obstacle() is None
    assert webui.start_app(api=True).get("/loratorio/v1/version").json()["host"] == host


def test_a_checkout_without_tags_has_no_version(standin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standin.launch_utils, "git_tag", lambda: "<none>")
    standin.load_script()
    assert standin.server.version == ""


def test_asking_for_the_obstacle_loads_no_model(webui: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(webui.shared, "sd_model")
    assert webui.server.obstacle() is None


def test_networks_by_name_and_alias_and_those_that_come_later(webui: Any, draw: Any) -> None:
    networks = webui.server.networks()
    assert networks["lin"] == "lin" and networks["lin2"] == "sub/lin2"
    folder = webui.folder
    (folder / "sub" / "later.safetensors").write_bytes((folder / "lin.safetensors").read_bytes())
    assert "later" not in webui.server.networks()
    webui.server.refresh()
    assert webui.server.networks()["later"] == "sub/later"


def test_a_name_is_known_if_and_only_if_the_webui_finds_it(webui: Any) -> None:
    folder = webui.folder
    tensors = load_file(folder / "lin.safetensors")
    for name, alias in (("one", "shared"), ("two", "shared"), ("three", "own"), ("Four", "One")):
        save_file(tensors, folder / f"{name}.safetensors", {"ss_output_name": alias})
    webui.server.refresh()
    networks = webui.server.networks()
    found = {}
    for name in ("one", "two", "three", "Four", "shared", "Shared", "own", "One", "ONE", "one.safetensors"):
        try:
            webui.networks.load_networks([name], [1.0], [1.0], [None])
        except AttributeError:  # Forge's loader on a name that finds no file
            continue
        for one in webui.networks.loaded_networks:
            found[name] = one.network_on_disk.name
    assert {name: path for name, path in networks.items() if path in set(found.values())} == found
    assert set(found) == {"one", "two", "three", "Four", "own", "One"}


def test_options_are_the_webui_s(webui: Any, draw: Any) -> None:
    assert webui.server.options() == Options()
    webui.opts.loratorio_rows = 12
    webui.opts.loratorio_overlay = "gallery"
    webui.opts.loratorio_history = "many"
    assert webui.server.options() == Options(rows=12, overlay="gallery")
    assert {option_key(one.name) for one in OPTIONS} >= {"loratorio_rows", "loratorio_network_memory"}


def test_the_page_s_language(webui: Any, draw: Any) -> None:
    text = "no step lies between Start and End, so the networks act merged"
    assert webui.server.words()(text) == text
    webui.opts.localization = "no language of this world"
    assert webui.server.words()(text) == text


def test_presets_lie_beside_the_webui_s_own_files(standin: Any, tmp_path: Path) -> None:
    standin.paths_internal.data_path = str(tmp_path / "data")
    standin.load_script()
    presets = standin.server.presets
    assert presets.can_save
    presets.save("mine", Settings(patch_size=4))
    assert (tmp_path / "data" / "loratorio-presets.json").is_file()
    standin.load_script()
    assert standin.server.presets.all()["mine"]["patch_size"] == 4


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (None, {}),
        ("", {}),
        ("me:secret", {"me": "secret"}),
        ("me:secret,you: s p ,:", {"me": "secret", "you": " s p ", "": ""}),
        ("me:first,me:second", {"me": "second"}),
    ],
)
@pytest.mark.parametrize("argument", ["api", "nowebui"])
def test_credentials_as_the_webui_reads_them(
    webui: Any, text: str | None, wanted: dict[str, str], argument: str
) -> None:
    def status(auth: tuple[str, str] | None, **arguments: Any) -> int:
        answer = webui.start_app(**arguments).get("/loratorio/v1/version", auth=auth)
        return int(answer.status_code)

    for auth in wanted.items() or [None]:
        assert status(auth, api_auth=text) == 404
        assert status(auth, **{argument: True}) == 200
        setattr(webui.shared.cmd_opts, argument, False)
    for auth in [None, ("me", "wrong"), ("me", "first")] if wanted else []:
        assert status(auth, **{argument: True}) == 401
    assert "secret" not in repr(sys.modules["loratorio_ext.hosts.find"].this_webui().services.api())


@pytest.mark.parametrize("text", ["me", "me:a:b", "me:secret,", "me:secret, you"])
def test_credentials_that_cannot_be_read_open_no_door(webui: Any, text: str) -> None:
    with pytest.raises(ValueError, match="user:password") as caught:
        webui.start_app(api=True, api_auth=text)
    assert "secret" not in str(caught.value)


def test_without_the_lora_extension_the_script_still_says_why(
    standin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "networks", None)
    standin.load_script()
    server = standin.server
    assert "its Lora extension" in str(server.obstacle())
    assert server.networks() == {} and not server.presets.can_save and server.presets.all()
    assert standin.script_callbacks.denoiser_callbacks == []
    assert standin.start_app(api=True).get("/loratorio/v1/version").status_code == 404
    server.refresh()


def test_limits_are_asked_for_at_every_pass(webui: Any, draw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    memory: list[int] = []
    original = Router.__init__

    def watched(self: Router, *arguments: Any, cache_bytes: int) -> None:
        memory.append(cache_bytes)
        original(self, *arguments, cache_bytes=cache_bytes)

    monkeypatch.setattr(Router, "__init__", watched)
    webui.opts.loratorio_rows, webui.opts.loratorio_network_memory = 2, 7

    def change(params: Any) -> None:
        if params.denoiser.step == 1:  # the pass has begun
            webui.opts.loratorio_rows, webui.opts.loratorio_network_memory = 1, 0

    webui.before_call(change)
    _, p = draw(PROMPT, {"batch_rows": 3}, hr_prompts=[PROMPT])
    first, hires = (one.report for one in webui.server.history.records()[0].run.passes)
    assert (first.settings.batch_rows, hires.settings.batch_rows) == (2, 1)
    assert hires.totals.calls > first.totals.calls
    assert (memory[0], memory[-1]) == (7 * 2**20, 0)
    assert p.extra_generation_params["LoRAtorio batch rows"] == "3"  # what the user asked for


def test_no_more_rows_share_a_call_than_the_limit_says(webui: Any, draw: Any) -> None:
    """Of our calls; the WebUI's own, where it makes one, comes between its two callbacks."""
    rows: list[int] = []
    theirs = [False]

    def watched(original: Any, x: Any, *others: Any, **named: Any) -> Any:
        if not theirs[0]:
            rows.append(len(x))
        return original(x, *others, **named)

    webui.around_calls(watched)
    if webui.server.merged_on_top:
        webui.before_call(lambda params: theirs.__setitem__(0, True))
        webui.script_callbacks.denoised_callbacks.insert(0, lambda params: theirs.__setitem__(0, False))
    draw([PROMPT] * 2, {"recenter": 0.5})
    unlimited = max(rows)
    rows.clear()
    webui.opts.loratorio_rows = 3
    draw([PROMPT] * 2, {"recenter": 0.5})
    assert unlimited > 3 >= max(rows) > 0


@pytest.mark.parametrize("mark", ["is_sd1", "is_sdxl", None])
def test_a_file_for_another_model_is_told_from_one_that_fits(
    webui: Any, monkeypatch: pytest.MonkeyPatch, mark: str | None
) -> None:
    layer, values = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k", torch.zeros(2, 2048)
    save_file({f"{layer}.lora_down.weight": values}, webui.folder / "xl.safetensors")
    qkv = "lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight"
    save_file({qkv: torch.zeros(2, 3072)}, webui.folder / "flux.safetensors")
    webui.server.refresh()
    if mark:
        monkeypatch.setattr(webui.model, mark, True, raising=False)
    assert webui.server.misfit("lin") is None and webui.server.misfit("nobody") is None
    assert ("SDXL" in str(webui.server.misfit("xl"))) is (mark == "is_sd1")
    assert ("Flux" in str(webui.server.misfit("flux"))) is (mark is not None)


def test_a_network_named_twice_costs_what_the_webui_makes_of_it(webui: Any) -> None:
    body = {"prompt": "a cat <lora:lin:0.5> <lora:lin:0.25>", "settings": {"looks": 0}}
    found = webui.start_app(api=True).post("/loratorio/v1/estimate", json=body).json()
    is_a1111 = webui.server.repeated == "twice"
    assert len(found["composed"]) == (1 if is_a1111 else 2)
    assert ("twice the last" if is_a1111 else "both strengths") in found["notes"][0]
