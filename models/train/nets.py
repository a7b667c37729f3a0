"""The networks: SDXL base's architecture family at a size that fits in 12 MB of fp16, and how they are written to disk."""

import json

import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from paths import MODEL
from tokens import LENGTH

VOCABULARY = 2048
START, END = VOCABULARY - 2, VOCABULARY - 1
SCALING_FACTOR = 0.13025  # SDXL's: `fold_latent_statistics` makes it true of this VAE too
TIME_EMBED = 32  # sinusoid width of each of the six time ids


def make_vae() -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=3, out_channels=3, down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=[32, 32, 64, 64], layers_per_block=1, act_fn="silu", latent_channels=4, norm_num_groups=32, sample_size=256,
        scaling_factor=SCALING_FACTOR, force_upcast=False,
    )


def load_vae() -> AutoencoderKL:
    """The shipped VAE, in float32, for use without training it."""
    return AutoencoderKL.from_pretrained(MODEL / "vae").float().eval().requires_grad_(False)


def make_text_encoders() -> tuple[CLIPTextModel, CLIPTextModelWithProjection]:
    shared = dict(vocab_size=VOCABULARY, max_position_embeddings=LENGTH, bos_token_id=START, eos_token_id=END, layer_norm_eps=1e-5)
    first = CLIPTextConfig(
        **shared, hidden_size=32, intermediate_size=128, num_hidden_layers=2, num_attention_heads=1, projection_dim=32,
        hidden_act="quick_gelu", pad_token_id=END,
    )
    second = CLIPTextConfig(
        **shared, hidden_size=96, intermediate_size=192, num_hidden_layers=3, num_attention_heads=3, projection_dim=96,
        hidden_act="gelu", pad_token_id=0,
    )
    return CLIPTextModel(first), CLIPTextModelWithProjection(second)


def make_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=32, in_channels=4, out_channels=4, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), block_out_channels=(64, 96, 96), layers_per_block=1,
        transformer_layers_per_block=(1, 1, 1), attention_head_dim=(2, 3, 3), cross_attention_dim=32 + 96, use_linear_projection=True,
        addition_embed_type="text_time", addition_time_embed_dim=TIME_EMBED, projection_class_embeddings_input_dim=96 + 6 * TIME_EMBED,
    )


def make_scheduler() -> EulerDiscreteScheduler:
    return EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000, prediction_type="epsilon",
        timestep_spacing="leading", steps_offset=1, interpolation_type="linear", use_karras_sigmas=False,
    )


class Conditioning(nn.Module):
    """Both text encoders as SDXL uses them: penultimate states side by side, and the second one's projected pooled state.

    Walks the encoders' modules itself: causal attention without a mask tensor, nothing that a CUDA graph could not record.
    """

    def __init__(self):
        super().__init__()
        self.text_encoder, self.text_encoder_2 = make_text_encoders()

    @staticmethod
    def _layer(layer, hidden: torch.Tensor) -> torch.Tensor:
        attention = layer.self_attn
        heads = lambda linear, x: linear(x).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
        normed = layer.layer_norm1(hidden)
        mixed = F.scaled_dot_product_attention(*(heads(linear, normed) for linear in (attention.q_proj, attention.k_proj, attention.v_proj)), is_causal=True)
        hidden = hidden + attention.out_proj(mixed.transpose(1, 2).flatten(2))
        return hidden + layer.mlp(layer.layer_norm2(hidden))

    def _encode(self, model, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(penultimate states, normalised last state at the end token)."""
        text = getattr(model, "text_model", model)
        hidden = text.embeddings(input_ids=ids)
        for layer in text.encoder.layers:
            penultimate, hidden = hidden, self._layer(layer, hidden)
        ends = (ids == END).int().argmax(dim=-1)
        return penultimate, text.final_layer_norm(hidden[torch.arange(len(ids), device=ids.device), ends])

    def forward(self, ids: torch.Tensor, ids_2: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        first, _ = self._encode(self.text_encoder, ids)
        second, pooled = self._encode(self.text_encoder_2, ids_2)
        return torch.cat([first, second], dim=-1), self.text_encoder_2.text_projection(pooled)


@torch.no_grad()
def fold_latent_statistics(vae: AutoencoderKL, mean: torch.Tensor, std: torch.Tensor):
    """Moves each latent channel's mean to 0 and its deviation to 1/SCALING_FACTOR inside the VAE's own 1×1 convolutions."""
    gain = 1 / (SCALING_FACTOR * std)
    quant, post = vae.quant_conv, vae.post_quant_conv
    channels = mean.numel()
    quant.weight[:channels] *= gain[:, None, None, None]
    quant.bias[:channels] = (quant.bias[:channels] - mean) * gain
    quant.bias[channels:] += 2 * gain.log()  # the log-variances scale with it
    post.bias += post.weight[:, :, 0, 0] @ mean
    post.weight /= gain[None, :, None, None]


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def save_component(module, name: str):
    """fp16 safetensors and config.json under the plain file names that diffusers and transformers expect."""
    folder = MODEL / name
    folder.mkdir(parents=True, exist_ok=True)
    weights = {key: value.detach().to("cpu", torch.float16).contiguous() for key, value in module.state_dict().items() if value.is_floating_point()}
    clip = name.startswith("text_encoder")
    if clip:  # SDXL's own files prefix the keys so; newer transformers drop it in memory
        weights = {key if key.startswith(("text_model.", "text_projection.")) else f"text_model.{key}": value for key, value in weights.items()}
    save_file(weights, folder / ("model.safetensors" if clip else "diffusion_pytorch_model.safetensors"), metadata={"format": "pt"})
    if clip:
        module.config.architectures = [type(module).__name__]
        module.config.save_pretrained(folder)
        path = folder / "config.json"
        config = json.loads(path.read_text())
        config.pop("torch_dtype", None)
        config["dtype"] = "float32"  # what newer transformers load it as by default, like the other components
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    else:
        module.save_config(folder)


def load_component(module, name: str):
    """Reads back into `module` what `save_component` wrote."""
    (path,) = (MODEL / name).glob("*.safetensors")
    own = module.state_dict()
    weights = {key if key in own else key.removeprefix("text_model."): value.float() for key, value in load_file(path).items()}
    missing = [key for key in own if key not in weights and own[key].is_floating_point()]
    if missing:
        raise KeyError(f"{path} lacks {', '.join(missing[:3])}")
    module.load_state_dict(weights, strict=False)


def save_index():
    make_scheduler().save_pretrained(MODEL / "scheduler")
    # As in SDXL's own file: what DDIM would do otherwise, clipping latents to -1 to 1, destroys them.
    config = MODEL / "scheduler/scheduler_config.json"
    fields = {**json.loads(config.read_text()), "clip_sample": False, "set_alpha_to_one": False}
    config.write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n")
    index = {
        "_class_name": "StableDiffusionXLPipeline", "_diffusers_version": "0.36.0", "feature_extractor": [None, None],
        "force_zeros_for_empty_prompt": True, "image_encoder": [None, None],
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"], "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer": ["transformers", "CLIPTokenizer"], "tokenizer_2": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"],
    }
    (MODEL / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
