"""What else pipelines do goes on as ever: one adapter, composed, is diffusers' own picture."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import diffusers
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    FluxImg2ImgPipeline,
    FluxKontextPipeline,
    StableDiffusion3Img2ImgPipeline,
    StableDiffusionAdapterPipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    T2IAdapter,
    ZImageImg2ImgPipeline,
)

from loratorio_ext.hosts.pipelines import compose
from loratorio_ext.settings import Settings
from tests.hosts_diffusers.pipelines import WIDTH, make_unet
from tests.hosts_pipelines.models import MODELS, UNET_TARGETS, WORDS, Model, noise

IMAGE = noise(1, 3, 16, 16).sigmoid()
MASK = torch.zeros(1, 1, 16, 16)
MASK[..., 4:] = 1.0


def other(kind: Any, more: Mapping[str, Any], call: Mapping[str, Any], **parts: Any) -> Model:
    """A pipeline of another kind, of the parts of the plain one."""
    taken = inspect.signature(kind.__init__).parameters
    components = {**MODELS["sd"]().pipeline.components, **parts}
    components = {name: part for name, part in components.items() if name in taken}
    pipeline = kind(**components, requires_safety_checker=False, **more)
    pipeline.set_progress_bar_config(disable=True)
    return Model(pipeline, lambda: {**WORDS, **call}, UNET_TARGETS)


def img2img() -> Model:
    return other(StableDiffusionImg2ImgPipeline, {}, {"image": IMAGE, "strength": 0.7})


def inpaint() -> Model:
    return other(StableDiffusionInpaintPipeline, {}, {"image": IMAGE, "mask_image": MASK})


def inpainting_model() -> Model:
    torch.manual_seed(4)
    unet = make_unet(WIDTH, in_channels=9)
    return other(StableDiffusionInpaintPipeline, {}, {"image": IMAGE, "mask_image": MASK}, unet=unet)


def controlnet() -> Model:
    plain = MODELS["sd"]().pipeline
    torch.manual_seed(4)
    net = ControlNetModel.from_unet(plain.unet, conditioning_embedding_out_channels=(4, 8)).eval()
    for name, parameter in net.named_parameters():
        if "controlnet_" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return other(StableDiffusionControlNetPipeline, {"controlnet": net}, {"image": IMAGE})


def t2i_adapter() -> Model:
    torch.manual_seed(4)
    adapter = T2IAdapter(channels=(8, 16), num_res_blocks=1, downscale_factor=2, adapter_type="full_adapter")
    return other(StableDiffusionAdapterPipeline, {"adapter": adapter}, {"image": IMAGE})


def ip_adapter() -> Model:
    model = MODELS["sd"]()
    torch.manual_seed(4)
    width = model.denoiser.config.cross_attention_dim
    projection = {
        "proj.weight": torch.randn(4 * width, 12),
        "proj.bias": torch.randn(4 * width),
        "norm.weight": torch.ones(width),
        "norm.bias": torch.zeros(width),
    }
    attention, number = {}, 1
    for name, module in model.denoiser.named_modules():
        if name.endswith("attn2"):
            for part in ("to_k_ip", "to_v_ip"):
                attention[f"{number}.{part}.weight"] = torch.randn(module.inner_dim, width)
            number += 2
    model.denoiser._load_ip_adapter_weights([{"image_proj": projection, "ip_adapter": attention}])
    embeds = [noise(2, 1, 12, seed=9)]  # unconditional and conditional
    return Model(model.pipeline, lambda: {**WORDS, "ip_adapter_image_embeds": embeds}, UNET_TARGETS)


def no_guidance() -> Model:
    return Model(MODELS["sd"]().pipeline, lambda: {**WORDS, "guidance_scale": 1.0}, UNET_TARGETS)


def prompts_of_their_own() -> Model:
    call = {**WORDS, "prompt": ["a", "b"], "negative_prompt": ["c", "d e"], "guidance_rescale": 0.5}
    return Model(MODELS["sd"]().pipeline, lambda: call, UNET_TARGETS)


def skipped_layers() -> Model:
    model = MODELS["sd3"]()
    skip = {"skip_guidance_layers": [0], "skip_layer_guidance_start": 0.0, "skip_layer_guidance_stop": 1.0}
    return Model(model.pipeline, lambda: {**model.call(), **skip}, model.targets)


def truncated_guidance() -> Model:
    """Z-Image without guidance in its last steps, and a network on the texts that all rows share."""
    model = MODELS["z_image"]()
    call = {**model.call(), "cfg_truncation": 0.5}
    return Model(model.pipeline, lambda: call, ("to_q", "cap_embedder.1"))


def of_picture(kind: Any, name: str, **call: Any) -> Model:
    """A transformer's pipeline that takes a picture: with a VAE, since it has to be encoded."""
    model = MODELS[name]()
    torch.manual_seed(4)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8,) * 4,
        norm_num_groups=4,
        shift_factor=0.1,
    ).eval()
    pipeline = kind(**{**model.pipeline.components, "vae": vae})
    pipeline.set_progress_bar_config(disable=True)
    return Model(pipeline, lambda: {**model.call(), **call}, model.targets)


def img2img_of_flux() -> Model:
    image = noise(1, 3, 64, 48).sigmoid()
    return of_picture(FluxImg2ImgPipeline, "flux_guided", image=image, strength=0.7)


def img2img_of_sd3() -> Model:
    image = noise(1, 3, 64, 48).sigmoid()
    return of_picture(StableDiffusion3Img2ImgPipeline, "sd3", image=image, strength=0.7)


def img2img_of_z_image() -> Model:
    image = noise(1, 3, 128, 64).sigmoid()
    return of_picture(ZImageImg2ImgPipeline, "z_image", image=image, strength=0.7)


def reference_of_flux() -> Model:
    """Kontext: the tokens of a picture for reference follow those of the picture, so nothing is placed."""
    image = noise(1, 3, 32, 32).sigmoid()
    return of_picture(FluxKontextPipeline, "flux", image=image, _auto_resize=False, max_area=64 * 48)


def of_scheduler(name: str) -> Callable[[], Model]:
    def make() -> Model:
        model = MODELS["sd"]()
        model.pipeline.scheduler = getattr(diffusers, name).from_config(model.pipeline.scheduler.config)
        return model

    make.__name__ = name
    return make


@pytest.mark.parametrize(
    "make",
    [
        img2img,
        inpaint,
        inpainting_model,
        controlnet,
        t2i_adapter,
        ip_adapter,
        no_guidance,
        prompts_of_their_own,
        skipped_layers,
        truncated_guidance,
        img2img_of_flux,
        img2img_of_sd3,
        img2img_of_z_image,
        reference_of_flux,
        *map(of_scheduler, ("HeunDiscreteScheduler", "EulerAncestralDiscreteScheduler", "LCMScheduler")),
    ],
    ids=lambda make: make.__name__,
)
def test_pipelines_go_on_as_ever(make: Callable[[], Model]) -> None:
    model = make()
    plain = model.draw(num_inference_steps=3)
    model.load("a", 1)
    expected = model.draw(num_inference_steps=3)
    scale = float(expected.abs().max())
    assert (plain - expected).abs().max() > 1e-2 * scale
    # The last settings make every step a full one, and compare denoised latents.
    for settings in (Settings(recenter=0.0), Settings(recenter=0.0, looks=0, compare="denoised")):
        with compose(model.pipeline, settings=settings) as composition:
            got = model.draw(num_inference_steps=3)
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-4 * scale)
        assert composition.report is not None
        assert composition.report.finished
    model.load("b", 2)
    model.denoiser.set_adapters(["a", "b"])
    with compose(model.pipeline, settings=Settings(looks=1, recenter=0.5)) as composition:
        both = model.draw(num_inference_steps=3)
    assert both.isfinite().all()
    assert (both - expected).abs().max() > 1e-3 * scale
    assert composition.report is not None
    modes = {step.mode for step in composition.report.steps[1:]}
    is_placed = make not in (truncated_guidance, reference_of_flux)
    assert modes == ({"placed"} if is_placed else {"composed"})
    assert is_placed == (not composition.report.warnings)


@pytest.mark.parametrize("name", ["sd", "sd3", "flux_guided"])
def test_half_precision_is_that_of_diffusers(name: str) -> None:
    """As near to diffusers' bfloat16 picture as that is to its float32 one."""
    model = MODELS[name]()
    model.load("a", 1)
    exact = model.draw(num_inference_steps=3)
    model.pipeline.to(torch.bfloat16)
    given = {name: one.bfloat16() for name, one in model.call().items() if name.endswith("_embeds")}
    expected = model.draw(num_inference_steps=3, **given).float()
    with compose(model.pipeline, settings=Settings(recenter=0.0, looks=1)):
        got = model.draw(num_inference_steps=3, **given).float()
    assert (got - exact).norm() < 2 * (expected - exact).norm()


def test_a_video_is_refused() -> None:
    model = MODELS["wan"]()
    model.load("a", 1)
    with compose(model.pipeline), pytest.raises(ValueError, match="2 frames; only still pictures"):
        model.draw(num_frames=5)
    assert model.draw(num_frames=5).isfinite().all()


def test_a_reference_is_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where networks act in Kontext's single blocks alone, no layer has an odd number of tokens."""
    model = reference_of_flux()
    for seed, name in enumerate("ab"):
        model.load(name, seed, target_modules=r".*single_transformer_blocks\.0\.attn\.to_q")
    model.pipeline.set_adapters(["a", "b"])
    with compose(model.pipeline, settings=Settings(looks=1)) as composition:
        model.draw(num_inference_steps=3)
    assert composition.report is not None
    assert {step.mode for step in composition.report.steps} == {"composed"}
    assert "pictures for reference" in composition.report.warnings[0]
