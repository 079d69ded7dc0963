"""The forward pass of a small LLaMA, written out: a prompt, then one token of each row at a time.

A model of a few million parameters spends most of a step not in its matrices but between them: module calls, hooks,
mask construction and some 40 small tensor operations a layer. `LlamaStep` computes the same numbers with half the
operations, and query, key and value (gate and up likewise) in one product each. That takes a second copy of the
weights, which is why larger models, where the matrices are what costs, keep transformers' own forward.

    h [B, D] -> for each layer:  h += O attention(rope(Q n(h)), rope(K n(h)), V n(h));  h += Down(silu(Gate m(h)) * Up
    m(h))

Letters: B rows, D width, A attention heads, H key-value heads, E head dimensions, P positions, V vocabulary entries.
n and m are the layer's root-mean-square norms.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DynamicCache, LlamaForCausalLM

from chatmusician.generation.cache import AlignedCache

LARGEST = 100_000_000
"""Parameters up to which the copy of the weights is worth its memory (400 MB in float32)."""

STATIC_ROPE = ("default", "linear", "llama3", "yarn")
"""Kinds of rotary embedding whose angles depend on the position alone, and not on the length so far."""


Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class _Layer:
    """One layer's weights. The matrices are transposed, which for one row takes a fifth off a product."""

    attention_norm: Tensor
    qkv: Tensor  # [D, (A + 2 H) E]
    out: Tensor  # [A E, D]
    mlp_norm: Tensor
    gate_up: Tensor  # [D, 2 F]
    down: Tensor  # [F, D]


class LlamaStep:
    """A step of ``model``, with its weights as they are now. Make a new one when they have changed."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        config = model.config
        self.heads = config.num_attention_heads
        self.kv_heads: int = config.num_key_value_heads or self.heads
        self.grouped = self.heads != self.kv_heads
        self.head_dim = model.model.layers[0].self_attn.head_dim
        self.eps = config.rms_norm_eps
        self.embedding = model.model.embed_tokens.weight
        self.norm, self.head = model.model.norm.weight, model.lm_head.weight
        self.layers = [_fuse(layer) for layer in model.model.layers]
        positions = torch.arange(config.max_position_embeddings, device=self.embedding.device)[None]
        cos, sin = model.model.rotary_emb(self.embedding, position_ids=positions)  # [1, P, E]
        half = self.head_dim // 2
        self.cos = cos[0]
        self.sin = torch.cat([-sin[0, :, :half], sin[0, :, half:]], dim=-1)  # the minus of the rotation

    @staticmethod
    def suits(model: Any) -> bool:
        """Whether ``model`` is small enough, and of the plain form that is written out here."""
        if type(model) is not LlamaForCausalLM:
            return False
        config = model.config
        rope = (config.rope_parameters or {}).get("rope_type", "default")
        plain = config.hidden_act == "silu" and not config.attention_bias and not config.mlp_bias
        linear = [module for name, module in model.named_modules() if name.endswith("_proj")]
        return (
            plain
            and rope in STATIC_ROPE
            and all(type(module) is nn.Linear for module in linear)
            and sum(parameter.numel() for parameter in model.parameters()) <= LARGEST
        )

    def __call__(self, tokens: Tensor, positions: Tensor, cache: AlignedCache) -> Tensor:
        """Logits ``[B, V]`` after ``tokens [B]`` at ``positions [B]``; their keys and values go into ``cache``."""
        mask = cache.mask()

        def attend(layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            so_far = cache.update(keys[:, :, None], values[:, :, None], layer)
            return F.scaled_dot_product_attention(queries[:, :, None], *so_far, mask, enable_gqa=self.grouped)

        h = self._layers(tokens, positions, attend)
        return F.linear(F.rms_norm(h, h.shape[-1:], self.norm, self.eps), self.head)

    def prompts(self, texts: Sequence[Tensor], prefills: Sequence[DynamicCache]) -> Tensor:
        """Logits ``[T, V]`` after the last token of each of T texts ``[L]``; keys and values go into ``prefills``.

        The texts are computed as one, but for attention, and so without padding.
        """
        lengths = [len(text) for text in texts]

        def attend(layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            attended = []
            parts = zip(
                *(part.transpose(0, 1)[None].split(lengths, dim=2) for part in (queries, keys, values)), strict=True
            )
            for prefill, (query, key, value) in zip(prefills, parts, strict=True):  # [1, A or H, L, E]
                so_far = prefill.update(key, value, layer)
                attended.append(F.scaled_dot_product_attention(query, *so_far, is_causal=True, enable_gqa=self.grouped))
            return torch.cat(attended, dim=2)[0].transpose(0, 1).contiguous()  # [sum of L, A, E]

        device = self.embedding.device
        positions = torch.cat([torch.arange(length, device=device) for length in lengths])
        ends = torch.tensor(lengths, device=device).cumsum(0) - 1
        h = self._layers(torch.cat(list(texts)), positions, attend)[ends]
        return F.linear(F.rms_norm(h, h.shape[-1:], self.norm, self.eps), self.head)

    def _layers(
        self, tokens: Tensor, positions: Tensor, attend: Callable[[int, Tensor, Tensor, Tensor], Tensor]
    ) -> Tensor:
        """``[N, D]`` of ``tokens [N]``: ``attend`` gets a layer's number, queries ``[N, A, E]``, keys and values."""
        width = (self.embedding.shape[1],)
        cos, sin = self.cos[positions][:, None], self.sin[positions][:, None]  # [N, 1, E]
        rotated, half = self.heads + self.kv_heads, self.head_dim // 2
        h = F.embedding(tokens, self.embedding)  # [N, D]
        for index, layer in enumerate(self.layers):
            normed = F.rms_norm(h, width, layer.attention_norm, self.eps)
            qkv = torch.mm(normed, layer.qkv).view(-1, rotated + self.kv_heads, self.head_dim)
            qk = qkv[:, :rotated]  # [N, A + H, E]
            qk = qk * cos + qk.roll(half, -1) * sin
            attended = attend(index, qk[:, : self.heads], qk[:, self.heads :], qkv[:, rotated:])
            h = h + torch.mm(attended.view(h.shape[0], -1), layer.out)
            normed = F.rms_norm(h, width, layer.mlp_norm, self.eps)
            gate, up = torch.mm(normed, layer.gate_up).chunk(2, -1)
            h = h + torch.mm(F.silu(gate) * up, layer.down)
        return h


def _fuse(layer: Any) -> _Layer:
    attention, mlp = layer.self_attn, layer.mlp
    return _Layer(
        attention_norm=layer.input_layernorm.weight,
        qkv=_transposed(attention.q_proj, attention.k_proj, attention.v_proj),
        out=_transposed(attention.o_proj),
        mlp_norm=layer.post_attention_layernorm.weight,
        gate_up=_transposed(mlp.gate_proj, mlp.up_proj),
        down=_transposed(mlp.down_proj),
    )


def _transposed(*projections: nn.Linear) -> Tensor:
    return torch.cat([projection.weight for projection in projections]).t().contiguous()
