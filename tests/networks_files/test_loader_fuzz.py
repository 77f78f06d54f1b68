"""Damaged and lying files: a network or one clear sentence, in a second, within bounded memory.

LORATORIO_FUZZ_CASES says how many files are tried, LORATORIO_FUZZ_SEED where they begin.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import resource
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn

from loratorio_ext.networks.files import NetworkFileError, key_map, load_network
from tests.networks_router.merging import delta_weight

CASES = int(os.environ.get("LORATORIO_FUZZ_CASES", "2000"))
SEED = int(os.environ.get("LORATORIO_FUZZ_SEED", "0"))
MOST_SECONDS = 1.0
MOST_GROWTH = 48 * 2**20
"""Bytes that the process may grow by in all; every file has a few kilobytes."""

LINEAR = (16, 6)  # down_blocks.0.resnets.0.time_emb_proj
PATH = "down_blocks.0.resnets.0.time_emb_proj"
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2)
CODES = (
    *(
        "F64",
        "F32",
        "F16",
        "BF16",
        "F8_E4M3",
        "F8_E5M2",
        "F8_E8M0",
        "F6_E2M3",
        "F4",
        "I64",
        "I32",
        "I16",
        "I8",
    ),
    *("U64", "U32", "U16", "U8", "BOOL", "C64", "X1", "", "f32"),
)
TYPES: dict[str, dict[str, tuple[int, ...]]] = {
    "LoRA": {"lora_down.weight": (2, 6), "lora_up.weight": (16, 2), "alpha": ()},
    "DoRA": {"lora_A.weight": (2, 6), "lora_B.weight": (16, 2), "dora_scale": (16, 1)},
    "LoHa": {
        "hada_w1_a": (16, 2),
        "hada_w1_b": (2, 6),
        "hada_w2_a": (16, 2),
        "hada_w2_b": (2, 6),
        "alpha": (),
    },
    "LoKr": {"lokr_w1": (2, 3), "lokr_w2_a": (8, 1), "lokr_w2_b": (1, 2), "alpha": ()},
    "GLoRA": {"a1.weight": (6, 2), "a2.weight": (2, 6), "b1.weight": (16, 2), "b2.weight": (2, 6)},
    "OFT": {"oft_blocks": (4, 4, 4), "alpha": (), "rescale": (16, 1)},
    "old OFT": {"oft_diag": (4, 4, 4)},
    "BOFT": {"oft_blocks": (2, 4, 4, 4)},
    "IA3": {"weight": (16,), "on_input": ()},
    "full": {"diff": (16, 6), "diff_b": (16,)},
}
STYLES = (
    "lora_unet_{}",
    "unet.{}",
    "base_model.model.{}",
    "diffusion_model.{}",
    "lycoris_{}",
    "_orig_mod.{}",
)
WORDS = (
    "lora_down",
    "alpha",
    ".",
    "unet.",
    "lora_unet_",
    "\n",
    "\x00",
    "é",
    "oft_R",
    "double_blocks.0.img_mlp.0",
)
HOSTILE: tuple[Any, ...] = (
    *(
        None,
        -1,
        0,
        1,
        2**31,
        2**63,
        2**64,
        1e400,
        0.5,
        "x",
        [],
        {},
        True,
        [[1]],
        "(a+)+b",
        {".*": 1},
        {"(a|a)*$": 2},
    ),
    *(["x"] * 2000, "[" * 5000, {"(": 1}, {"a": float("nan")}),
)


def sound_file(chance: random.Random) -> bytes:
    """A file of one type for one layer, with random numbers, dtypes, key style and metadata."""
    style = chance.choice(STYLES)
    layer = style.format(PATH.replace(".", "_") if style.endswith("_{}") and "." not in style else PATH)
    generator = torch.Generator().manual_seed(chance.randrange(2**31))
    dtype = chance.choice(DTYPES)
    tensors: dict[str, Tensor] = {}
    for part, shape in chance.choice([*TYPES.values()]).items():
        tensors[f"{layer}.{part}"] = torch.randn(shape, generator=generator).to(dtype)
    metadata = {"ss_base_model_version": chance.choice(["sd_v1", "flux1", "", "\x00" * 99])}
    if chance.random() < 0.5:
        said = {
            "lora_alpha": chance.choice(HOSTILE),
            "alpha_pattern": chance.choice([*HOSTILE, {".*to_q": 3}]),
        }
        said["unet.r"] = chance.choice(HOSTILE)
        metadata["lora_adapter_metadata"] = json.dumps(said)[: chance.choice([10**6, 20])]
    return save(tensors, metadata if chance.random() < 0.6 else None)


def flipped(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice([1, 1, 2, 8, 64]) if data else 0):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def cut(data: bytearray, chance: random.Random) -> None:
    if data and chance.random() < 0.5:
        del data[chance.randrange(len(data)) :]
    else:
        data += bytes(chance.randrange(1, 99))


def with_other_length(data: bytearray, chance: random.Random) -> None:
    lengths = (0, 1, len(data), len(data) - 8, 2**25, 2**32, 2**63, 2**64 - 1, chance.randrange(2**16))
    data[:8] = chance.choice(lengths).to_bytes(8, "little")


def lying(data: bytearray, chance: random.Random) -> None:
    """Another dtype, shape, place or name of a tensor in the header."""
    length = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + length])
    except ValueError:  # an earlier change broke it
        return
    names = [name for name in header if name != "__metadata__"] if isinstance(header, dict) else []
    for _ in range(chance.choice([1, 1, 2]) if names else 0):
        name = chance.choice(names)
        entry = header.get(name)
        if not isinstance(entry, dict) or not isinstance(entry.get("shape"), list):
            continue
        what = chance.choice(["dtype", "shape", "same size", "offsets", "name", "gone", "twice", "any"])
        if what == "dtype":
            entry["dtype"] = chance.choice(CODES)
        elif what == "shape":
            entry["shape"] = [
                chance.choice([0, 1, 2, 6, 16, 2**20, 2**40, 2**62]) for _ in range(chance.randrange(6))
            ]
        elif what == "same size":
            entry["shape"] = chance.choice([entry["shape"][::-1], [*entry["shape"], 1], [1, *entry["shape"]]])
        elif what == "offsets":
            entry["data_offsets"] = [chance.choice([-1, 0, 4, 8, 2**40, 2**64]) for _ in range(2)]
        elif what == "name":
            at = chance.randrange(len(name))
            header[name[:at] + chance.choice(WORDS) + name[at + chance.randrange(3) :]] = header.pop(name)
        elif what == "gone":
            del header[name]
        elif what == "twice":
            header[f"unet.{PATH}.{name.rpartition('.')[2]}"] = dict(entry)
        else:
            header[name] = chance.choice(HOSTILE)
    text = json.dumps(header).encode()
    data[: 8 + length] = len(text).to_bytes(8, "little") + text


def header_of(keys: dict[str, list[int]]) -> dict[str, Any]:
    """Each key with a tensor of one number, or of none where its shape says so."""
    header, end = {}, 0
    for key, shape in keys.items():
        start, end = end, end + (0 if 0 in shape else 4)
        header[key] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    return header


def patterned(patterns: list[str]) -> dict[str, Any]:
    said = json.dumps({"lora_alpha": 2, "alpha_pattern": dict.fromkeys(patterns, 1)})
    tensors = header_of({f"unet.{PATH}.lora_A.weight": [1, 1], f"unet.{PATH}.lora_B.weight": [1, 1]})
    return {"__metadata__": {"lora_adapter_metadata": said}, **tensors}


BLOCK = "down_blocks.{}.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight"
SHAPES: dict[str, Callable[[], dict[str, Any]]] = {
    "a long key": lambda: header_of({"lora_" * 100_000: [1]}),
    "long keys": lambda: header_of({"module." * 70 + str(number): [0] for number in range(19_000)}),
    "many keys": lambda: header_of({f"k{number}": [0] for number in range(200_000)}),
    "many keys, all allowed": lambda: header_of({f"k{number}": [0] for number in range(19_000)}),
    "many layers": lambda: header_of({"unet." + BLOCK.format(number): [0] for number in range(19_000)}),
    "a transformer's": lambda: header_of(
        {f"transformer_blocks.{number}.attn2.to_q.lora_A.weight": [0, 3] for number in range(19_000)}
    ),
    "many dims": lambda: header_of({f"unet.{PATH}.lora_A.weight": [1] * 200_000}),
    "many dims, empty": lambda: header_of({f"unet.{PATH}.lora_A.weight": [0] * 5000}),
    "long patterns": lambda: patterned(["x" * 990 + str(number) for number in range(2000)]),
    "slow to compile": lambda: patterned(["(a|b)" * 10 + f"[^x]*[a-z]|{n}" for n in range(1999)]),
    "signs beyond ASCII": lambda: patterned(
        [r"(?i:[\x00-\uffff]" + "[\0-\uffff]" * 99 + f"{n})" for n in range(99)]
    ),
    "many entries": lambda: {
        **patterned([]),
        "__metadata__": {"lora_adapter_metadata": json.dumps(dict.fromkeys(map(str, range(300_000)), 0))},
    },
}


@pytest.mark.parametrize("shape", SHAPES)
def test_hostile_headers(shape: str, make_unet: Any, tmp_path: Path) -> None:
    """As long as is allowed, or longer: an answer in about a second, and a short sentence."""
    keys = key_map({"unet": make_unet()})
    header, path = SHAPES[shape](), tmp_path / "net.safetensors"
    text, end = (
        json.dumps(header).encode(),
        max(entry.get("data_offsets", [0, 0])[1] for entry in header.values()),
    )
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(end))
    began, memory = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(NetworkFileError) as refused:
        load_network(path, keys)
    assert time.process_time() - began < 1.5 * MOST_SECONDS
    assert len(str(refused.value)) < 900 and "damaged or not" not in str(refused.value)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) * 1024
    assert grown < MOST_GROWTH + 4 * path.stat().st_size


MUTATIONS = (flipped, flipped, cut, with_other_length, lying, lying, lying)


def test_damaged_and_lying_files(make_unet: Any, make_text: Any, tmp_path: Path) -> None:
    model: nn.Module = make_unet()
    keys = key_map({"unet": model, "text_encoder": make_text(nested=False)})
    path = tmp_path / "net.safetensors"
    importlib.import_module("lycoris.functional")  # takes seconds, once
    ends: Counter[str] = Counter()
    slowest, memory = 0.0, 0
    for number in range(SEED, SEED + CASES):
        chance = random.Random(number)
        data = bytearray(sound_file(chance))
        sound = chance.random() < 0.05
        for _ in range(0 if sound else chance.choice([1, 1, 1, 2])):
            chance.choice(MUTATIONS)(data, chance)
        path.write_bytes(data)
        began = time.process_time()
        try:
            network = load_network(path, keys)
            for name, deltas in network.layers.items():
                if name.startswith("unet."):
                    module = model.get_submodule(name.partition(".")[2])
                    assert all(delta_weight(delta, module) is not None for delta in deltas), number
            ends["loaded"] += 1
        except NetworkFileError as error:
            message = str(error)
            assert message.startswith("network file 'net.safetensors': "), number
            assert message.isprintable() and len(message) < 900, (number, message)
            ends["refused"] += 1
        taken = time.process_time() - began
        slowest = max(slowest, taken)
        assert taken < MOST_SECONDS, (number, taken)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if number == SEED + min(50, CASES // 2):  # libraries are loaded by now
            memory = peak
    grown = peak - memory
    print(f"{dict(ends)}, slowest {slowest:.3f} s, grown by {grown / 2**20:.1f} MiB")
    assert grown < MOST_GROWTH
    assert ends["loaded"] > CASES // 100 and ends["refused"] > CASES // 4
