"""A decoder in plain torch operations, in whatever dtype its parameters have: the float64 truth behind the golden values.

`transformers` computes norms and rotary angles in float32 whatever the model's dtype, so it cannot be a float64 reference.
Written from the published equations; `families.py` checks it against `transformers` in float32 for every family.
"""

import json
import math
from pathlib import Path

import torch
from safetensors.torch import load_file


def load_folder(folder, dtype=torch.float64):
    """(config dict, {parameter name: tensor}) of a Hugging Face folder, weights upcast to `dtype`."""
    folder = Path(folder)
    config = json.loads((folder / 'config.json').read_text())
    parameters = {}
    for file in sorted(folder.glob('*.safetensors')):
        parameters.update(load_file(file))
    return config, {name: value.to(dtype) for name, value in parameters.items()}


def rope_settings(config):
    """(theta, scaling dict or None) from either spelling of the configuration."""
    if 'rope_parameters' in config:
        scaling = dict(config['rope_parameters'])
        theta = scaling.pop('rope_theta')
    else:
        scaling = dict(config.get('rope_scaling') or {})
        theta = config.get('rope_theta', 10000.0)
    kind = scaling.get('rope_type', scaling.get('type', 'default'))
    return theta, None if kind == 'default' else {**scaling, 'rope_type': kind}


def head_size(config):
    return config.get('head_dim') or config['hidden_size'] // config['num_attention_heads']


def inverse_frequencies(config, smooth=True):
    """[D/2] float64 angular steps; `smooth=False` leaves the middle band of llama3 scaling out (a known mistake)."""
    size = head_size(config)
    theta, scaling = rope_settings(config)
    plain = theta ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
    if scaling is None:
        return plain
    factor = scaling['factor']
    if scaling['rope_type'] == 'linear':
        return plain / factor
    assert scaling['rope_type'] == 'llama3', scaling
    low, high = scaling['low_freq_factor'], scaling['high_freq_factor']
    original = scaling['original_max_position_embeddings']
    turns = original * plain / (2 * math.pi)  # full turns within the original context
    if not smooth:
        return torch.where(turns < low, plain / factor, plain)
    kept = ((turns - low) / (high - low)).clamp(0, 1)  # 0: divided by factor, 1: kept as it is
    return (1 - kept) * plain / factor + kept * plain


def norm(x, gain, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * gain


def rotate(x, cos, sin):
    """Rotary embedding over pairs (i, i + D/2); x [B, H, T, D], cos and sin [T, D/2]."""
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def forward(config, parameters, tokens, smooth=True, lora=None):
    """Log-probabilities of the next token, [B, T, V], for tokens [B, T].

    `lora`: (scale, {parameter name without '.weight': (A [R, in], B [out, R])}), added as x·Aᵀ·Bᵀ·scale.
    """
    heads, kv_heads = config['num_attention_heads'], config['num_key_value_heads']
    size, eps = head_size(config), config['rms_norm_eps']
    batch, time = tokens.shape
    embedding = parameters['model.embed_tokens.weight']
    angles = torch.arange(time, dtype=torch.float64)[:, None] * inverse_frequencies(config, smooth)[None]
    cos, sin = angles.cos().to(embedding), angles.sin().to(embedding)
    future = torch.triu(torch.ones(time, time, dtype=torch.bool), 1)

    def linear(x, name):
        y = x @ parameters[f'{name}.weight'].T
        if f'{name}.bias' in parameters:
            y = y + parameters[f'{name}.bias']
        if lora is not None and name in lora[1]:
            a, b = lora[1][name]
            y = y + lora[0] * (x @ a.T @ b.T)
        return y

    x = embedding[tokens]
    for layer in range(config['num_hidden_layers']):
        at = f'model.layers.{layer}'
        h = norm(x, parameters[f'{at}.input_layernorm.weight'], eps)
        q = linear(h, f'{at}.self_attn.q_proj').view(batch, time, heads, size)
        k = linear(h, f'{at}.self_attn.k_proj').view(batch, time, kv_heads, size)
        v = linear(h, f'{at}.self_attn.v_proj').view(batch, time, kv_heads, size).transpose(1, 2)
        if f'{at}.self_attn.q_norm.weight' in parameters:
            q = norm(q, parameters[f'{at}.self_attn.q_norm.weight'], eps)
            k = norm(k, parameters[f'{at}.self_attn.k_norm.weight'], eps)
        q, k = rotate(q.transpose(1, 2), cos, sin), rotate(k.transpose(1, 2), cos, sin)
        k, v = (t.repeat_interleave(heads // kv_heads, 1) for t in (k, v))
        scores = (q @ k.transpose(-1, -2) / math.sqrt(size)).masked_fill(future, float('-inf'))
        mixed = (torch.softmax(scores, -1) @ v).transpose(1, 2).reshape(batch, time, heads * size)
        x = x + linear(mixed, f'{at}.self_attn.o_proj')
        h = norm(x, parameters[f'{at}.post_attention_layernorm.weight'], eps)
        gate = linear(h, f'{at}.mlp.gate_proj')
        x = x + linear(gate * torch.sigmoid(gate) * linear(h, f'{at}.mlp.up_proj'), f'{at}.mlp.down_proj')
    x = norm(x, parameters['model.norm.weight'], eps)
    head = embedding if config.get('tie_word_embeddings', False) else parameters['lm_head.weight']
    return torch.log_softmax(x @ head.T, -1)


def token_nll(logprobs, tokens):
    """[B, T] nats; position t holds −ln p(token t | tokens before t), position 0 holds 0."""
    nll = -logprobs[:, :-1].gather(-1, tokens[:, 1:, None])[..., 0]
    return torch.cat([torch.zeros_like(nll[:, :1]), nll], 1)


def rounded(values, digits=9):
    """Nested lists of JSON numbers with `digits` significant digits (None stays None)."""
    if values is None:
        return None
    if isinstance(values, torch.Tensor):
        values = values.tolist()
    if isinstance(values, list):
        return [rounded(value, digits) for value in values]
    return float(f'{values:.{digits}g}') if isinstance(values, float) else values


def write_json(path, value):
    """Objects and lists of objects one field a line, everything below on one line: small and still readable in a diff."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)

    def render(item, depth):
        pad = ' ' * (depth + 1)
        if isinstance(item, dict) and depth < 4:
            body = ',\n'.join(f'{pad}{json.dumps(k)}: {render(v, depth + 1)}' for k, v in item.items())
            return '{\n' + body + '\n' + ' ' * depth + '}'
        if isinstance(item, list) and item and isinstance(item[0], dict) and depth < 3:
            return '[\n' + ',\n'.join(pad + render(v, depth + 1) for v in item) + '\n' + ' ' * depth + ']'
        return json.dumps(item, separators=(',', ':'), ensure_ascii=False)

    path.write_text(render(value, 0) + '\n')
