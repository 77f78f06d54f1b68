"""`lbw=` in the diffusers host: against a file whose weights are multiplied by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from loratorio_ext.hosts.diffusers_host import DiffusersHost
from loratorio_ext.hosts.diffusers_host.networks import NetworkCache
from loratorio_ext.networks.files import HashReader, NetworkFolder, key_map
from loratorio_ext.networks.prompt import parse_prompt
from loratorio_ext.settings import Settings
from tests.hosts_diffusers.pipelines import PIPELINES, small, write_networks

# Where the attention of these small models lies in LDM's numbers: every block has one resnet on its way down
# and two on its way up, and the first ends with a sampler.
BLOCKS = {
    "sd": {"down_blocks_0": "IN01", "mid_block": "M00", "up_blocks_1_attentions_0": "OUT02"}
    | {"up_blocks_1_attentions_1": "OUT03"},
    "sdxl": {"down_blocks_1": "IN03", "mid_block": "M00", "up_blocks_0_attentions_0": "OUT00"}
    | {"up_blocks_0_attentions_1": "OUT01"},
}
WEIGHTS = {"BASE": 0.5, "IN01": 2.0, "IN03": -1.0, "M00": 0.0, "OUT00": 0.3, "OUT01": 1.5, "OUT02": -0.5}
ALL = (
    "BASE " + " ".join(f"IN{n:02d}" for n in range(12)) + " M00 " + " ".join(f"OUT{n:02d}" for n in range(12))
)


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_weights_multiply_the_blocks(kind: str, tmp_path: Path) -> None:
    pipeline = PIPELINES[kind]()
    write_networks(pipeline, tmp_path, "a")
    tensors = load_file(tmp_path / "a.safetensors")
    for key, tensor in tensors.items():
        if key.endswith("lora_up.weight"):
            block = next((one for part, one in BLOCKS[kind].items() if part in key), None)
            block = "BASE" if key.startswith("lora_te") else block
            assert block is not None
            tensors[key] = tensor * WEIGHTS.get(block, 0.25)
    save_file(tensors, tmp_path / "by_hand.safetensors")
    written = ",".join(str(WEIGHTS.get(block, 0.25)) for block in ALL.split())

    def latents(tag: str) -> Any:
        found = DiffusersHost(pipeline).generate(small(f"a cat {tag}", network_dir=tmp_path, seeds=(1,)))
        ((name, digits),) = found.hashes.items()
        assert digits == HashReader().of(tmp_path / f"{name}.safetensors") and len(digits) == 12
        return found.latents

    found, wanted = latents(f"<lora:a:1:lbw={written}>"), latents("<lora:by_hand:1>")
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found, latents("<lora:a:1>"), atol=1e-3)
    assert torch.equal(latents("<lora:a:1:lbw=ALL>"), latents("<lora:a:1>"))
    torch.testing.assert_close(latents("<lora:a:1:lbw=NONE>"), latents("<lora:a:0>"), rtol=0, atol=1e-6)


def test_blocks_that_a_list_does_not_name_are_said(tmp_path: Path) -> None:
    pipeline = PIPELINES["sdxl"]()
    write_networks(pipeline, tmp_path, "a")
    parts = {"unet": pipeline.unet, "text_encoder": pipeline.text_encoder}
    cache = NetworkCache(key_map({**parts, "text_encoder_2": pipeline.text_encoder_2}))
    tags = parse_prompt("<lora:a:1:lbw=OUTALL>").tags
    ((_, network),), told = cache.load_all(tags, Settings(), "", NetworkFolder(tmp_path))
    assert told == [
        "Network 'a': lbw=OUTALL says nothing of its blocks IN03, OUT00, OUT01, so they do not act."
    ]
    assert {name.partition(".")[0] for name in network.layers} == {"text_encoder", "text_encoder_2"}
    assert cache.load(tags[0], NetworkFolder(tmp_path)).layers.keys() > network.layers.keys()
