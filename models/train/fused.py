"""GroupNorm with SiLU as four Triton kernels over channels-last tensors, and residual blocks that use it while training.

torch's own GroupNorm works in float32 under autocast and converts channels-last tensors back and forth; both networks here are
small enough to spend most of their time on that. Nothing in here changes what is computed or how the weights are named.
"""

import types

import torch
import torch.nn.functional as F
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import nn

try:
    import triton
    import triton.language as tl
except ImportError:  # no Triton: `speed_up` then leaves the modules as they are
    triton = None

if triton:

    @triton.jit
    def _sums(x, dy, scale, shift, mean, rstd, out, rows, rows_each, C: tl.constexpr, BC: tl.constexpr, BR: tl.constexpr, GRAD: tl.constexpr, SILU: tl.constexpr):
        """Per sample, part and channel: Σx and Σx², or with GRAD Σdz and Σdz·x̂, where z = x·scale + shift."""
        sample, part, parts = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.num_programs(1)
        c = tl.arange(0, BC)
        inside = c < C
        first, second = tl.zeros([BC], tl.float32), tl.zeros([BC], tl.float32)
        if GRAD:
            a = tl.load(scale + sample * C + c, inside, 0.0)[None, :]
            b = tl.load(shift + sample * C + c, inside, 0.0)[None, :]
            m = tl.load(mean + sample * C + c, inside, 0.0)[None, :]
            s = tl.load(rstd + sample * C + c, inside, 0.0)[None, :]
        last = tl.minimum((part + 1) * rows_each, rows)
        for start in range(part * rows_each, last, BR):
            r = start + tl.arange(0, BR)
            mask = (r < last)[:, None] & inside[None, :]
            at = (sample * rows + r)[:, None] * C + c[None, :]
            value = tl.load(x + at, mask, 0.0).to(tl.float32)
            if GRAD:
                dz = tl.load(dy + at, mask, 0.0).to(tl.float32)
                if SILU:
                    z = value * a + b
                    g = tl.sigmoid(z)
                    dz = dz * g * (1 + z * (1 - g))
                first += tl.sum(dz, 0)
                second += tl.sum(dz * (value - m) * s, 0)
            else:
                first += tl.sum(value, 0)
                second += tl.sum(value * value, 0)
        base = out + ((sample * parts + part) * 2) * C + c
        tl.store(base, first, inside)
        tl.store(base + C, second, inside)

    @triton.jit
    def _apply(x, dy, scale, shift, of_x, of_one, of_dz, out, rows, C: tl.constexpr, BC: tl.constexpr, BR: tl.constexpr, GRAD: tl.constexpr, SILU: tl.constexpr):
        """y = act(x·scale + shift), or with GRAD dx = dz·of_dz + x·of_x + of_one; coefficients are per sample and channel."""
        sample = tl.program_id(0).to(tl.int64)
        r = tl.program_id(1) * BR + tl.arange(0, BR)
        c = tl.arange(0, BC)
        inside = c < C
        mask = (r < rows)[:, None] & inside[None, :]
        at = (sample * rows + r)[:, None] * C + c[None, :]
        value = tl.load(x + at, mask, 0.0).to(tl.float32)
        z = value * tl.load(scale + sample * C + c, inside, 0.0)[None, :] + tl.load(shift + sample * C + c, inside, 0.0)[None, :]
        if GRAD:
            dz = tl.load(dy + at, mask, 0.0).to(tl.float32)
            if SILU:
                g = tl.sigmoid(z)
                dz = dz * g * (1 + z * (1 - g))
            result = dz * tl.load(of_dz + sample * C + c, inside, 0.0)[None, :]
            result += value * tl.load(of_x + sample * C + c, inside, 0.0)[None, :] + tl.load(of_one + sample * C + c, inside, 0.0)[None, :]
        else:
            result = z * tl.sigmoid(z) if SILU else z
        tl.store(out + at, result.to(out.dtype.element_ty), mask)


def _reduce(x, dy, coefficients, silu):
    """float32 [2, n, channels]."""
    n, channels, height, width = x.shape
    rows = height * width
    block = triton.next_power_of_2(channels)
    each = min(rows, max(256, 65_536 // block))
    parts = triton.cdiv(rows, each)
    out = torch.empty(n, parts, 2, channels, device=x.device, dtype=torch.float32)
    grad = dy is not None
    _sums[(n, parts)](x, dy if grad else x, *(coefficients if grad else (out,) * 4), out, rows, each, channels, block, max(1, 4096 // block), grad, silu)
    return out.sum(dim=1).transpose(0, 1)


def _map(x, dy, coefficients, silu):
    n, channels, height, width = x.shape
    block = triton.next_power_of_2(channels)
    rows_each = max(1, 4096 // block)
    out = torch.empty_like(x)
    grad = dy is not None
    extra = coefficients[2:] if grad else coefficients[:1] * 3
    _apply[(n, triton.cdiv(height * width, rows_each))](x, dy if grad else x, *coefficients[:2], *extra, out, height * width, channels, block, rows_each, grad, silu)
    return out


class _GroupNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, groups, eps, silu):
        x = x.contiguous(memory_format=torch.channels_last)
        n, channels = x.shape[:2]
        size = x[0].numel() // groups
        sums = _reduce(x, None, None, silu).view(2, n, groups, -1).sum(dim=3) / size
        mean = sums[0]
        rstd = (sums[1] - mean.square()).clamp(min=0).add(eps).rsqrt()
        wide = lambda value: value[:, :, None].expand(n, groups, channels // groups).reshape(n, channels)
        mean, rstd = wide(mean).contiguous(), wide(rstd).contiguous()
        scale = rstd * weight.float()
        shift = bias.float() - mean * scale
        ctx.save_for_backward(x, weight, scale, shift, mean, rstd)
        ctx.groups, ctx.silu, ctx.size = groups, silu, size
        return _map(x, None, (scale, shift), silu)

    @staticmethod
    def backward(ctx, dy):
        x, weight, scale, shift, mean, rstd = ctx.saved_tensors
        n, channels = x.shape[:2]
        dy = dy.contiguous(memory_format=torch.channels_last)
        bias_sum, weight_sum = _reduce(x, dy, (scale, shift, mean, rstd), ctx.silu)
        group = lambda value: (value * weight.float()).view(n, ctx.groups, -1).sum(dim=2, keepdim=True).expand(n, ctx.groups, channels // ctx.groups).reshape(n, channels) / ctx.size
        of_x = -rstd * rstd * group(weight_sum)
        of_one = -rstd * group(bias_sum) - mean * of_x
        dx = _map(x, dy, (scale, shift, of_x.contiguous(), of_one.contiguous(), scale), ctx.silu)
        return dx, weight_sum.sum(dim=0).to(weight.dtype), bias_sum.sum(dim=0).to(weight.dtype), None, None, None


def group_norm(x, norm: nn.GroupNorm, silu: bool):
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    with torch.autocast(x.device.type, enabled=False):
        return _GroupNorm.apply(x, norm.weight, norm.bias, norm.num_groups, norm.eps, silu)


def _resnet(self: ResnetBlock2D, x, temb=None, *_, **__):
    hidden = self.conv1(group_norm(x, self.norm1, True))
    if self.time_emb_proj is not None and temb is not None:
        hidden = hidden + self.time_emb_proj(F.silu(temb))[:, :, None, None]
    hidden = self.conv2(group_norm(hidden, self.norm2, True))
    return (x if self.conv_shortcut is None else self.conv_shortcut(x)) + hidden


def _norm(self: nn.GroupNorm, x):
    return group_norm(x, self, False) if x.ndim == 4 else F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


def _upsample(self: Upsample2D, x, *_, **__):
    with torch.autocast(x.device.type, enabled=False):
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")
    return self.conv(x)


def _layer_norm(self: nn.LayerNorm, x):
    if not torch.is_autocast_enabled(x.device.type):
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
    dtype = torch.get_autocast_dtype(x.device.type)
    with torch.autocast(x.device.type, enabled=False):  # sums are float32 inside the kernel all the same
        return F.layer_norm(x.to(dtype), self.normalized_shape, self.weight.to(dtype), self.bias.to(dtype), self.eps)


class _Embedding(torch.autograd.Function):
    """A table look-up whose gradient is one matrix product: no sorting, no atomics on the padding token's row."""

    @staticmethod
    def forward(ctx, ids, table):
        ctx.save_for_backward(ids)
        ctx.rows = len(table)
        return table[ids]

    @staticmethod
    def backward(ctx, gradient):
        (ids,) = ctx.saved_tensors
        chosen = (ids.flatten()[None] == torch.arange(ctx.rows, device=ids.device)[:, None]).to(torch.bfloat16)
        return None, (chosen @ gradient.flatten(0, -2).to(torch.bfloat16)).float()


def _embedding(self: nn.Embedding, ids):
    return _Embedding.apply(ids, self.weight)


def speed_up(network: nn.Module) -> nn.Module:
    """Makes a network on the GPU use the kernels above, in place."""
    if triton is None or next(network.parameters()).device.type != "cuda":
        return network
    for module in network.modules():
        if isinstance(module, ResnetBlock2D):
            assert module.time_embedding_norm in ("default", "group") and module.output_scale_factor == 1 and module.upsample is None and module.downsample is None
            module.forward = types.MethodType(_resnet, module)
        elif isinstance(module, Upsample2D):
            module.forward = types.MethodType(_upsample, module)
        elif isinstance(module, nn.Embedding) and module.num_embeddings > 1000:
            module.forward = types.MethodType(_embedding, module)
        elif isinstance(module, nn.LayerNorm):
            module.forward = types.MethodType(_layer_norm, module)
        elif isinstance(module, nn.GroupNorm):
            module.forward = types.MethodType(_norm, module)
    return network
