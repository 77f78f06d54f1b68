"""LyCORIS types, against the library's own modules and against formulas written out here."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from lycoris import modules as lycoris_modules
from torch import Tensor, nn

from loratorio_ext.networks.files import NetworkFileError, TargetLayer, load_network
from loratorio_ext.networks.files.computed import Computed, weight_decomposed
from loratorio_ext.networks.router import Dense
from tests.networks_router.merging import delta_weight

LINEAR = ("lora_unet_down_blocks_0_resnets_0_time_emb_proj", "down_blocks.0.resnets.0.time_emb_proj")
CONV = ("lora_unet_down_blocks_0_resnets_0_conv1", "down_blocks.0.resnets.0.conv1")

LORA = {"lora_down.weight": (2, 6), "lora_up.weight": (16, 2)}
HADA = {"hada_w1_a": (16, 2), "hada_w1_b": (2, 6), "hada_w2_a": (16, 2), "hada_w2_b": (2, 6)}

CASES = [
    ("LohaModule", {"lora_dim": 3, "alpha": 2}),
    ("LohaModule", {"lora_dim": 3, "alpha": 2, "use_tucker": True}),
    ("LohaModule", {"lora_dim": 3, "alpha": 2, "weight_decompose": True}),
    ("LokrModule", {"lora_dim": 1, "alpha": 3, "factor": 2}),
    ("LokrModule", {"lora_dim": 2, "alpha": 1, "factor": 4, "decompose_both": True}),
    ("LokrModule", {"lora_dim": 100000, "alpha": 1, "factor": 2, "full_matrix": True}),
    ("LokrModule", {"lora_dim": 1, "alpha": 3, "factor": 2, "use_tucker": True}),
    ("LokrModule", {"lora_dim": 1, "alpha": 3, "factor": 2, "weight_decompose": True}),
    ("LoConModule", {"lora_dim": 2, "alpha": 1}),
    ("LoConModule", {"lora_dim": 2, "alpha": 1, "use_tucker": True}),
    ("LoConModule", {"lora_dim": 2, "alpha": 1, "weight_decompose": True}),
    ("LoConModule", {"lora_dim": 2, "alpha": 1, "weight_decompose": True, "wd_on_out": False}),
    ("GLoRAModule", {"lora_dim": 2, "alpha": 1}),
    ("IA3Module", {}),
    ("IA3Module", {"train_on_input": True}),
    ("DiagOFTModule", {"lora_dim": 4}),
    ("DiagOFTModule", {"lora_dim": 4, "constraint": 0.01, "rescaled": True}),
    ("ButterflyOFTModule", {"lora_dim": 4, "constraint": 0.01}),
    ("ButterflyOFTModule", {"lora_dim": 4}),
    ("ButterflyOFTModule", {"lora_dim": 4, "rescaled": True}),
]


@pytest.mark.parametrize(("algorithm", "options"), CASES, ids=str)
@pytest.mark.parametrize("place", [LINEAR, CONV], ids=["linear", "conv"])
def test_types_against_the_librarys_modules(
    algorithm: str, options: dict[str, Any], place: tuple[str, str], keys: Any, unet: nn.Module, write: Any
) -> None:
    """The reference is what the library's module adds to the layer's output when it is trained."""
    key, path = place
    layer = unet.get_submodule(path)
    original = layer.weight.detach().clone()
    torch.manual_seed(3)
    module = getattr(lycoris_modules, algorithm)("m", layer, **options)
    for parameter in module.parameters():
        parameter.data.copy_(
            0.3 * torch.randn_like(parameter)
            + (1.0 if parameter.ndim == original.ndim and 1 in parameter.shape else 0.0)
        )
    state = {name: value.detach().clone() for name, value in module.state_dict().items() if name != "scalar"}
    network = load_network(write({f"{key}.{name}": value.float() for name, value in state.items()}), keys)
    assert network.unmatched == ()

    x = torch.randn(2, 6) if layer.weight.dim() == 2 else torch.randn(2, 8, 5, 5)
    with torch.no_grad():
        base = layer(x)
        module.apply_to()
        try:
            expected = layer(x) - base
        finally:
            module.restore() if hasattr(module, "restore") else None
    weight = sum(delta_weight(delta, layer)[0] for delta in network.layers[f"unet.{path}"])
    assert isinstance(weight, Tensor)
    if layer.weight.dim() == 2:
        got = nn.functional.linear(x, weight)
    else:
        got = nn.functional.conv2d(x, weight.reshape(original.shape), padding=1)
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(got, expected, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(layer.weight.detach(), original, atol=0, rtol=0)


@pytest.fixture
def load_one(keys: Any, write: Any) -> Any:
    """Gives ΔW of one layer from a file with these parts of it."""

    def load(tensors: dict[str, Tensor], layer: nn.Module) -> Tensor:
        network = load_network(write({f"{LINEAR[0]}.{name}": value for name, value in tensors.items()}), keys)
        (delta,) = network.layers[f"unet.{LINEAR[1]}"]
        weight: Tensor = delta_weight(delta, layer)[0]
        return weight

    return load


def test_formulas_written_out(unet: nn.Module, load_one: Any) -> None:
    layer = unet.get_submodule(LINEAR[1])
    W = layer.weight.detach().double()  # [16, 6]
    r = torch.randn
    hada = {"alpha": torch.tensor(1.0), **{part: r(shape) for part, shape in HADA.items()}}
    expected = 0.5 * (hada["hada_w1_a"] @ hada["hada_w1_b"]) * (hada["hada_w2_a"] @ hada["hada_w2_b"])
    torch.testing.assert_close(load_one(hada, layer), expected)

    kron = {"lokr_w1": r(2, 3), "lokr_w2_a": r(8, 2), "lokr_w2_b": r(2, 2), "alpha": torch.tensor(1.0)}
    expected = 0.5 * torch.kron(kron["lokr_w1"], kron["lokr_w2_a"] @ kron["lokr_w2_b"])
    torch.testing.assert_close(load_one(kron, layer), expected)
    # Full factors: alpha says nothing.
    full = {"lokr_w1": r(2, 3), "lokr_w2": r(8, 2), "alpha": torch.tensor(1e9)}
    torch.testing.assert_close(load_one(full, layer), torch.kron(full["lokr_w1"], full["lokr_w2"]))

    for on_input, size in ((0, 16), (1, 6)):
        ia3 = {"weight": r(size), "on_input": torch.tensor(on_input)}
        expected = (W * (ia3["weight"][None, :] if on_input else ia3["weight"][:, None])).float()
        torch.testing.assert_close(load_one(ia3, layer), expected)

    now = {"a1.weight": r(6, 2), "a2.weight": r(2, 6), "b1.weight": r(16, 2), "b2.weight": r(2, 6)}
    a1, a2, b1, b2 = now.values()
    expected = (W @ a1.double() @ a2.double()).float() + b1 @ b2
    torch.testing.assert_close(load_one(now, layer), expected)
    before = {"a2.weight": a1, "a1.weight": a2, "b2.weight": b1, "b1.weight": b2}
    torch.testing.assert_close(load_one(before, layer), expected)

    blocks = 0.2 * r(4, 4, 4)
    rotated = torch.zeros(16, 16, dtype=torch.float64)
    for number, block in enumerate(blocks.double()):
        Q, eye, place = block - block.T, torch.eye(4, dtype=torch.float64), slice(4 * number, 4 * number + 4)
        rotated[place, place] = (eye + Q) @ torch.linalg.inv(eye - Q)
    oft = load_one({"oft_blocks": blocks, "alpha": torch.tensor(0.0)}, layer)
    torch.testing.assert_close(oft, (rotated.T @ W - W).float(), atol=1e-5, rtol=1e-4)
    turned = torch.stack([rotated[4 * k : 4 * k + 4, 4 * k : 4 * k + 4] for k in range(4)]).float()
    rescale = torch.rand(16, 1) + 0.5
    direct = load_one({"oft_diag": turned, "alpha": torch.tensor(7.0), "rescale": rescale}, layer)
    torch.testing.assert_close(direct, (rescale * (rotated.T @ W) - W).float(), atol=1e-5, rtol=1e-4)
    # An orthogonal map of the outputs keeps the length of every column.
    torch.testing.assert_close((W + oft.double()).norm(dim=0), W.norm(dim=0), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("of_outputs", [True, False])
def test_dora_sets_the_norms(of_outputs: bool) -> None:
    weight, delta = torch.randn(5, 3, 2, 2), torch.randn(5, 3, 2, 2)
    magnitude = torch.rand(5, 1, 1, 1) + 1 if of_outputs else torch.rand(1, 3, 1, 1) + 1
    after = weight + weight_decomposed(weight, delta, magnitude)
    dims = (1, 2, 3) if of_outputs else (0, 2, 3)
    torch.testing.assert_close(torch.linalg.vector_norm(after, dim=dims), magnitude.flatten())
    cosine = nn.functional.cosine_similarity(after.flatten(), (weight + delta).flatten(), dim=0)
    assert cosine > 0.5
    zero = weight_decomposed(torch.zeros(2, 2), torch.zeros(2, 2), torch.ones(2, 1))
    assert torch.isfinite(zero).all()


def test_half_precision_autocast_and_slices(unet: nn.Module) -> None:
    torch.manual_seed(0)
    parts = {"up": torch.randn(4, 2).half(), "down": torch.randn(2, 6).half()}
    fused = nn.Linear(6, 12).half()
    recipe = Computed(lambda p, W: p["up"] @ p["down"], parts, 2.0, (4, 6), False, torch.ones(4, 1), (4, 4))
    plain = recipe(fused)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
        under_autocast = recipe(fused)
    assert plain.dtype == under_autocast.dtype == torch.float32
    torch.testing.assert_close(plain, under_autocast, atol=0, rtol=0)
    rows = fused.weight.detach().float()[4:8]
    torch.testing.assert_close((rows + plain).norm(dim=1), torch.ones(4))
    assert isinstance(Dense(computed=recipe, output_slice=(4, 4)), Dense)


def test_packed_weights_are_refused_when_they_are_needed(keys: Any, write: Any) -> None:
    tensors = {f"{LINEAR[0]}.weight": torch.ones(16), f"{LINEAR[0]}.on_input": torch.tensor(0)}
    (delta,) = load_network(write(tensors), keys).layers[f"unet.{LINEAR[1]}"]
    packed = nn.Module()
    packed.weight = nn.Parameter(torch.zeros(48, 1, dtype=torch.uint8), requires_grad=False)
    with pytest.raises(ValueError, match=r"torch\.uint8.*16, 32 or 8 bit"):
        delta_weight(delta, packed)


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        ({**HADA, "hada_w1_a": (16, 3)}, "do not fit"),
        ({**HADA, "hada_w1_b": (2, 8), "hada_w2_b": (2, 8)}, "do not fit"),
        ({part: (6, 2) if part[-1] == "a" else (2, 16) for part in HADA}, "do not fit"),
        ({k: v for k, v in HADA.items() if k != "hada_w2_b"}, "LoHa without its part hada_w2_b"),
        ({**HADA, "hada_t1": (2, 2, 3, 3)}, "one of its two Tucker cores"),
        ({**HADA, "lokr_w1": (2, 2)}, "several types at once: LoHa, LoKr"),
        ({**HADA, "bm.weight": (2, 2)}, "does not belong to it: bm.weight"),
        ({"lokr_w1": (2, 3)}, "LoKr without its second factor"),
        ({"lokr_w1": (2, 3), "lokr_w2": (5, 2)}, "do not fit"),
        ({"oft_blocks": (3, 5, 5)}, "do not fit"),
        ({"oft_blocks": (16, 16)}, "3 or 4 dims"),
        ({"oft_diag": (3, 4, 4)}, "do not fit"),
        ({"oft_R.weight": (4, 6)}, "unknown type"),
        ({"weight": (16,)}, "unknown or incomplete type with the parts weight"),
        ({"on_input": (1,), "weight": (5,)}, "do not fit"),
        ({"a1.weight": (6, 2), "a2.weight": (2, 6), "b1.weight": (16, 2), "b2.weight": (3, 6)}, "do not fit"),
        ({"lora_down.weight": (2, 6)}, "LoRA without its part up"),
        ({**LORA, "lora_down.weight": ()}, "down has shape"),
        ({**HADA, "hada_w1_b": ()}, "hada_w1_b has shape"),
        ({**LORA, "dora_scale": ()}, "magnitude has shape"),
        ({"lora_down.weight": (2, 6), "lora_up.weight": (16, 3)}, "ranks do not fit"),
        ({**LORA, "dora_scale": (7, 1)}, "magnitude has shape"),
        ({**LORA, "diff_b": (5,)}, "diff_b has shape"),
        ({**LORA, "alpha": (2,)}, "alpha has shape"),
        ({"diff": (6, 16)}, "diff has shape"),
        ({"alpha": (1,)}, "nothing but alpha"),
        ({"q_layer.weight": (2, 6)}, "unknown type"),
    ],
)
def test_parts_that_make_no_network(
    shapes: dict[str, tuple[int, ...]], reason: str, keys: Any, write: Any
) -> None:
    path = write({f"{LINEAR[0]}.{part}": torch.ones(shape) for part, shape in shapes.items()})
    with pytest.raises(NetworkFileError, match=reason) as caught:
        load_network(path, keys)
    assert "net.safetensors" in str(caught.value) and LINEAR[0] in str(caught.value)


def test_a_missing_library_is_named_with_the_remedy(
    keys: Any, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str, *rest: Any) -> Any:
        if name.startswith("lycoris"):
            raise ImportError("No module named 'lycoris'")
        return real(name, *rest)

    real = importlib.import_module
    monkeypatch.setattr(importlib, "import_module", missing)
    path = write({f"{LINEAR[0]}.{part}": torch.ones(shape) for part, shape in HADA.items()})
    with pytest.raises(NetworkFileError, match=r"lycoris-lora.*loratorio\[lycoris\]"):
        load_network(path, keys)


def test_nothing_is_computed_where_the_shape_is_unknown(write: Any) -> None:
    keys = {"lora_unet_x": TargetLayer("unet.x")}
    path = write({f"lora_unet_x.{part}": torch.ones(shape) for part, shape in HADA.items()})
    (delta,) = load_network(path, keys).layers["unet.x"]
    weight = delta_weight(delta, nn.Linear(6, 16))[0]
    torch.testing.assert_close(weight, torch.full((16, 6), 4.0))


@pytest.mark.parametrize("alpha", [torch.inf, torch.nan])
@pytest.mark.parametrize(
    "parts",
    [
        {"diff": torch.ones(16, 6)},
        {"weight": torch.ones(16), "on_input": torch.tensor(False)},
        {"oft_diag": torch.ones(4, 4, 4)},
    ],
    ids=["full", "IA3", "old OFT"],
)
def test_an_alpha_that_does_not_count_may_be_any(
    parts: dict[str, Tensor], alpha: float, keys: Any, write: Any
) -> None:
    layer = "lora_unet_down_blocks_0_resnets_0_time_emb_proj"
    tensors = {f"{layer}.{name}": part for name, part in parts.items()}
    (one,) = load_network(write(tensors), keys).layers.values()
    (other,) = load_network(write({**tensors, f"{layer}.alpha": torch.tensor(alpha)}), keys).layers.values()
    module = nn.Linear(6, 16)
    for got, wanted in zip(one, other, strict=True):
        assert torch.equal(delta_weight(got, module)[0], delta_weight(wanted, module)[0])
