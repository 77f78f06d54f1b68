"""What comes out of the stand-in for Forge with LoRAtorio, against what its own merging gives."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from loratorio_ext.method import RowMap, compose
from tests.webuis.forge.changes import ALONE, TWO, after_guidance


@pytest.mark.parametrize("kind", ["sliced", "set"])
def test_one_network_alone_is_forge_s_own_picture(draw: Any, close: Any, as_merged: Any, kind: str) -> None:
    merged, _ = as_merged(f"a cat <lora:{kind}:0.8>")
    assert not close(draw("a cat")[0], merged)


OPTIONS = pytest.mark.parametrize("options", [{}, {"skip_early_cond": 0.4}, {"persistent_cond_cache": False}])


@OPTIONS
def test_rows_and_conditions_of_flux_are_laid_out_as_forge_s(
    webui: Any, as_merged: Any, layout: dict[str, Any], options: dict[str, Any]
) -> None:
    webui.use(webui.standin.new_model(kind="flux"))
    vars(webui.opts).update(options)
    as_merged(**layout)


@OPTIONS
@pytest.mark.parametrize("kind", ["sd", "sdxl", "flux"])
def test_a_hires_pass_without_guidance(
    webui: Any, draw: Any, close: Any, options: dict[str, Any], kind: str
) -> None:
    webui.use(webui.standin.new_model(kind=kind))
    vars(webui.opts).update(options)
    fields = {"hr_prompts": ["a cat"], "hr_cfg": 1}
    merged, _ = draw("a cat <lora:te:1>", **fields)
    composed, p = draw("a cat <lora:te:1>", ALONE, **fields)
    assert close(composed, merged)
    assert list(p.comments) == ["LoRAtorio: there is no network to compose in the hires pass"]


@pytest.mark.parametrize("recenter", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("rows", [0, 1, 3])
def test_calls_of_any_size_give_the_same_picture(
    webui: Any, draw: Any, close: Any, recenter: float, rows: int
) -> None:
    prompts = [TWO, "a dog"]
    wanted, _ = draw(prompts, {"recenter": recenter})
    picture, _ = draw(prompts, {"recenter": recenter, "batch_rows": rows})
    assert close(picture, wanted)
    webui.backend("memory_management").free[0] = webui.called.memory_required([2, 4, 8, 8]) * 1.01
    webui.called.calls.clear()
    picture, _ = draw(prompts, {"recenter": recenter, "batch_rows": rows})
    assert close(picture, wanted)
    assert max(webui.called.calls) <= 2


@pytest.fixture
def predictions(webui: Any, draw: Any, beside: Any) -> Any:
    """(x, cond, uncond) of the first evaluation, as functions after the guidance see them."""

    def find(prompt: str, settings: Any = None) -> Any:
        seen: list[Any] = []

        @after_guidance
        def watched(a: Any) -> Any:
            seen.append([a[name].clone() for name in ("input", "cond_denoised", "uncond_denoised")])
            return a["denoised"]

        draw(prompt, settings, scripts=beside(watched) if settings else beside(watched)[:1])
        return seen[0]

    return find


def test_every_and_sub_prompt_is_composed_by_itself(predictions: Any, close: Any) -> None:
    """Against the method's function on predictions that Forge itself made with merged networks."""
    settings = {"patch_size": 2, "temperature": 0.5, "recenter": 0.25, "weighting": "relative", "gain": 0.2}
    weights, texts, names = (1.0, -0.6), ("a cat", "a red dog"), ("lin", "te")
    x, cond, uncond = predictions("a cat AND a red dog :-0.6 <lora:lin:1> <lora:te:1>", settings)
    plain = [predictions(text) for text in texts]
    merged = [[predictions(f"{text} <lora:{name}:1>") for text in texts] for name in names]
    wanted = compose(
        torch.cat([one[1] for one in plain]),
        torch.stack([torch.cat([one[1] for one in network]) for network in merged]),
        plain[0][2],
        torch.stack([network[0][2] for network in merged]),
        top_k=0,
        top_k_scope="image",
        compare_as=lambda denoised: x - denoised,
        rows=RowMap((0, 0), weights),
        **settings,  # type: ignore[arg-type]
    )
    mean = (weights[0] * wanted.cond[:1] + weights[1] * wanted.cond[1:]) / sum(weights)
    assert close(cond, mean) and wanted.uncond is not None and close(uncond, wanted.uncond)


def test_sub_prompts_count_as_rows(webui: Any, draw: Any, close: Any) -> None:
    prompt = "a cat AND a dog :0.5 AND a red house :0.3 <lora:te:1> <lora:lin:1>"
    wanted, _ = draw(prompt, {"recenter": 0.5})
    webui.called.calls.clear()
    picture, p = draw(prompt, {"recenter": 0.5, "batch_rows": 1})
    assert close(picture, wanted) and p.comments == {}
    assert webui.called.calls == [1] * 12 * 4
    assert set(p.progress) == {"LoRAtorio: 12 predictions at this step instead of 4"}


def test_layers_in_four_bits_are_composed(webui: Any, draw: Any, close: Any) -> None:
    """As bitsandbytes and Forge keep them: no width in the layer, the weight a column of packed bytes."""

    class FourBits(torch.nn.Module):
        def __init__(self, linear: Any) -> None:
            super().__init__()
            self.plain, self.bias = linear.weight.detach(), linear.bias
            self.weight = torch.nn.Parameter(
                torch.zeros(linear.weight.numel() // 2, 1, dtype=torch.uint8), False
            )
            self.weight.quant_state = SimpleNamespace(shape=linear.weight.shape)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.linear(x, self.plain, self.bias)

    prompt = "a cat <lora:lin:1> <lora:sliced:0.7>"
    wanted, _ = draw(prompt, {})
    webui.standin.replace_linears(webui.model, FourBits)
    picture, p = draw(prompt, {})
    assert close(picture, wanted) and p.comments == {}


def test_a_network_that_an_option_adds_is_composed(webui: Any, draw: Any, close: Any) -> None:
    both, _ = draw("a cat <lora:te:0.5> <lora:lin:1>", {})
    alone, _ = draw("a cat <lora:lin:1>", {})
    webui.opts.sd_lora = "lin"
    added, p = draw("a cat <lora:te:0.5>", {})
    assert close(added, both) and p.comments == {}
    added, p = draw("a cat", {})
    assert close(added, alone) and p.comments == {}


def test_a_kind_that_grows_with_the_square_of_its_strength(
    webui: Any, as_merged: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As OFT in Forge Neo and reForge (weight_adapter/oft.py)."""
    if webui.name == "forge":
        pytest.skip("Forge has no such kind")
    kind = webui.backend("patcher.lora").weight_adapter.WeightAdapterBase
    original = kind.calculate_weight

    def squared(self: Any, weight: Any, key: str, strength: float, *others: Any) -> Any:
        return original(self, weight, key, strength**2, *others)

    monkeypatch.setattr(kind, "calculate_weight", squared)
    as_merged("a cat <lora:loha:0.7>")
    as_merged("a cat <lora:loha:-0.7>")
