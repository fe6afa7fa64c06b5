"""Writes golden/families/<name>/: tiny random checkpoints made by `transformers`, with what they say (expected.json).

Run: python families.py [name …]. See README.md beside this file; formats in ../README.md.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
import transformers
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

import reference

GOLDEN = Path(__file__).resolve().parent.parent / 'golden' / 'families'
NUM_GREEDY = 40
ROW_LENGTHS = [2, 7, 16, 33, 80]
FAMILIES = {
    'llama': (LlamaConfig, LlamaForCausalLM),
    'qwen2': (Qwen2Config, Qwen2ForCausalLM),
    'qwen3': (Qwen3Config, Qwen3ForCausalLM),
}


def llama3_scaling(original):
    """Wavelengths between original/4 and original/1 positions lie in the smoothing band."""
    return dict(rope_type='llama3', factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                original_max_position_embeddings=original)


def shape(hidden, heads, kv_heads, mlp, vocab=64, layers=2, **more):
    return dict(hidden_size=hidden, num_attention_heads=heads, num_key_value_heads=kv_heads, intermediate_size=mlp,
                vocab_size=vocab, num_hidden_layers=layers, **more)


# spelling 'published': rope_theta, rope_scaling, torch_dtype (most checkpoints on the hub); 'v5': as transformers 5 saves.
# omit: keys taken out of the saved config because published checkpoints of the family lack them.
MODELS = {
    'llama2': dict(
        family='llama', says='Llama 2: as many key/value heads as query heads, untied head, no tie key and no head_dim key',
        config=shape(32, 4, 4, 48, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, tie_word_embeddings=False),
        theta=10000.0, omit=['tie_word_embeddings', 'head_dim', 'attention_bias', 'mlp_bias']),
    'llama3.1': dict(
        family='llama', says='Llama 3.1: grouped heads, llama3 rope scaling, untied, several eos ids, bfloat16, head size 16',
        config=shape(64, 4, 2, 48, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=[2, 5], tie_word_embeddings=False),
        theta=500.0, scaling=llama3_scaling(96), dtype='bfloat16'),
    'llama3.2': dict(
        family='llama', says='Llama 3.2: llama3 rope scaling, tied, configuration as transformers 5 spells it',
        config=shape(40, 5, 1, 48, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=[2, 5], tie_word_embeddings=True),
        theta=1000.0, scaling=llama3_scaling(80), spelling='v5'),
    'llama-linear': dict(
        family='llama', says='linear rope scaling under its oldest spelling ("type"), head size 12',
        config=shape(36, 3, 3, 40, rms_norm_eps=1e-6, bos_token_id=1, eos_token_id=2, tie_word_embeddings=False),
        theta=10000.0, scaling=dict(rope_type='linear', factor=2.5), old_scaling_key=True, omit=['head_dim']),
    'llama-head-dim': dict(
        family='llama', says='head_dim 32, not hidden_size / heads = 16; only one key/value head',
        config=shape(32, 2, 1, 48, head_dim=32, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2,
                     tie_word_embeddings=True),
        theta=10000.0),
    'llama-bias': dict(
        family='llama', says='attention_bias (q, k, v and o) and mlp_bias',
        config=shape(32, 4, 2, 56, attention_bias=True, mlp_bias=True, rms_norm_eps=1e-5, bos_token_id=1,
                     eos_token_id=2, tie_word_embeddings=False),
        theta=10000.0),
    'smollm2': dict(
        family='llama', says='SmolLM2: 9 query heads on 3 key/value heads, tied, theta 100000, bfloat16',
        config=shape(72, 9, 3, 48, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, pad_token_id=2,
                     tie_word_embeddings=True),
        theta=100000.0, dtype='bfloat16', omit=['head_dim']),
    'qwen2': dict(
        family='qwen2', says='Qwen2: bias on q, k, v that no key announces, tied, no head_dim key, head size 24',
        config=shape(48, 2, 1, 32, rms_norm_eps=1e-6, bos_token_id=1, eos_token_id=2, tie_word_embeddings=True),
        theta=1000000.0, omit=['head_dim']),
    'deepseek-r1-distill': dict(
        family='qwen2', says='Qwen2.5 as DeepSeek-R1-Distill: untied, 7 query heads on 1, float16 in two shards',
        config=shape(56, 7, 1, 64, rms_norm_eps=1e-6, bos_token_id=1, eos_token_id=2, tie_word_embeddings=False),
        theta=10000.0, dtype='float16', max_shard_size=60000, omit=['head_dim']),
    'qwen2.5-padded': dict(
        family='qwen2', says='128 embedding rows for a tokenizer of 100 tokens; the rows no token names score high on purpose',
        config=shape(32, 4, 2, 40, vocab=128, rms_norm_eps=1e-6, bos_token_id=1, eos_token_id=2,
                     tie_word_embeddings=False),
        theta=10000.0, named_tokens=100, omit=['head_dim']),
    'qwen3': dict(
        family='qwen3', says='Qwen3: q/k norms, head_dim 16 where hidden / heads = 10, tied, grouped heads',
        config=shape(40, 4, 2, 32, head_dim=16, rms_norm_eps=1e-6, bos_token_id=1, eos_token_id=2,
                     tie_word_embeddings=True),
        theta=1000000.0),
    'qwen3-untied': dict(
        family='qwen3', says='Qwen3, larger sizes: untied, head_dim 32, configuration as transformers 5 spells it',
        config=shape(32, 2, 1, 40, head_dim=32, rms_norm_eps=1e-6, bos_token_id=1, eos_token_id=[2, 5],
                     tie_word_embeddings=False),
        theta=1000000.0, spelling='v5'),
}


def randomise(model, generator, model_spec):
    """Weights that make every part matter: unequal norms, real biases, log-probabilities spread over several nats."""
    normal = lambda like: torch.randn(like.shape, generator=generator)
    tied = model.config.tie_word_embeddings
    for name, parameter in model.named_parameters():
        if 'norm' in name:
            value = 1 + 0.3 * normal(parameter)
        elif name.endswith('bias'):
            value = 0.4 * normal(parameter)
        elif 'embed_tokens' in name or 'lm_head' in name:
            value = normal(parameter) * (2.5 / parameter.shape[1] ** 0.5 if tied or 'lm_head' in name else 1.0)
        else:
            value = normal(parameter) * 1.4 / parameter.shape[1] ** 0.5
        parameter.data.copy_(value)
    if 'named_tokens' in model_spec:  # without a mask, greedy decoding would choose these
        model.lm_head.weight.data[model_spec['named_tokens']:] *= 1.5


def respell(folder, spec):
    """Rewrites config.json the way published checkpoints spell it."""
    path = folder / 'config.json'
    config = json.loads(path.read_text())
    if spec.get('spelling') != 'v5':
        scaling = dict(config.pop('rope_parameters'))
        config['rope_theta'] = scaling.pop('rope_theta')
        kind = scaling.pop('rope_type')
        key = 'type' if spec.get('old_scaling_key') else 'rope_type'
        config['rope_scaling'] = None if kind == 'default' else {key: kind, **scaling}
        config['torch_dtype'] = config.pop('dtype')
        config['transformers_version'] = '4.44.0'
    for key in spec.get('omit', []):
        config.pop(key, None)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + '\n')


def write_word_tokenizer(folder, count):
    """tokenizer.json naming `count` ids, so that the folder itself says which embedding rows are padding."""
    words = ['<unk>', '<s>', '</s>'] + [f'w{i}' for i in range(3, count)]
    special = [dict(id=i, content=words[i], single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
               for i in range(3)]
    tokenizer = dict(version='1.0', truncation=None, padding=None, added_tokens=special, normalizer=None,
                     pre_tokenizer=dict(type='WhitespaceSplit'), post_processor=None, decoder=None,
                     model=dict(type='WordLevel', vocab={word: i for i, word in enumerate(words)}, unk_token='<unk>'))
    (folder / 'tokenizer.json').write_text(json.dumps(tokenizer, separators=(',', ':')) + '\n')
    settings = dict(tokenizer_class='PreTrainedTokenizerFast', unk_token='<unk>', bos_token='<s>', eos_token='</s>')
    (folder / 'tokenizer_config.json').write_text(json.dumps(settings, indent=2) + '\n')


def greedy(model, prompt, num_named):
    """(tokens, gaps): NUM_GREEDY tokens without a cache; gap = best − second logit among the ids a token names."""
    tokens, gaps = list(prompt), []
    for _ in range(NUM_GREEDY):
        logits = model(torch.tensor([tokens]), use_cache=False).logits[0, -1, :num_named]
        best = logits.topk(2)
        gaps.append((best.values[0] - best.values[1]).item())
        tokens.append(best.indices[0].item())
    return tokens[len(prompt):], gaps


def greedy_rows(model, generator, num_named, eos):
    """Three continuations that hold no eos id, do not run in a circle of a few tokens and have no near tie."""
    rows = []
    for _ in range(400):
        length = [1, 5, 24][len(rows)]
        prompt = torch.randint(6, num_named, (length,), generator=generator).tolist()
        tokens, gaps = greedy(model, prompt, num_named)
        if not eos & set(tokens) and len(set(tokens)) >= 6 and min(gaps) >= 2e-3:
            rows.append(dict(prompt=prompt, tokens=tokens, gaps=reference.rounded(gaps, 6)))
            if len(rows) == 3:
                return rows
    raise SystemExit(f'only {len(rows)} usable greedy continuations; choose another seed')


def expected_rows(model, config, parameters, generator, num_named):
    rows, worst = [], 0.0
    for index, length in enumerate(ROW_LENGTHS):
        tokens = torch.randint(0, num_named, (1, length), generator=generator)
        full = torch.log_softmax(model(tokens, use_cache=False).logits, -1)
        truth = reference.forward(config, parameters, tokens)
        worst = max(worst, (full - truth).abs().max().item())
        scored = [None] + [-x for x in reference.token_nll(full, tokens)[0, 1:].tolist()]
        scored64 = [None] + [-x for x in reference.token_nll(truth, tokens)[0, 1:].tolist()]
        top = []
        for position in sorted({1, length // 2, length - 1} - {0}):
            best = full[0, position - 1].topk(5)
            top.append(dict(position=position,
                            top=[[i, reference.rounded(v)] for i, v in zip(best.indices.tolist(), best.values.tolist())]))
        rows.append(dict(id=f'row-{index}', tokens=tokens[0].tolist(), logprobs=reference.rounded(scored),
                         logprobsFloat64=reference.rounded(scored64, 11), topAt=top))
    return rows, worst


@torch.no_grad()
def write_family(name, spec, seed):
    config_class, model_class = FAMILIES[spec['family']]
    rope = {'rope_type': 'default', **spec.get('scaling', {}), 'rope_theta': spec['theta']}
    model = model_class(config_class(max_position_embeddings=512, rope_parameters=rope, **spec['config'])).eval()
    generator = torch.Generator().manual_seed(seed)
    randomise(model, generator, spec)
    folder = GOLDEN / name
    shutil.rmtree(folder, ignore_errors=True)
    stored = model.to(getattr(torch, spec.get('dtype', 'float32')))
    stored.save_pretrained(folder, max_shard_size=spec.get('max_shard_size', '5GB'))
    (folder / 'generation_config.json').unlink(missing_ok=True)
    respell(folder, spec)
    num_named = spec.get('named_tokens', model.config.vocab_size)
    if 'named_tokens' in spec:
        write_word_tokenizer(folder, num_named)

    # What counts is the folder as written: read it back, compute in float32 whatever it stores.
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation='eager').eval()
    config, parameters = reference.load_folder(folder)
    rows, worst = expected_rows(model, config, parameters, generator, num_named)
    assert worst < 5e-5, (name, worst)
    eos = config['eos_token_id']
    greedy_part = greedy_rows(model, generator, num_named, set(eos if isinstance(eos, list) else [eos]))
    spread = torch.log_softmax(model(torch.tensor([rows[-1]['tokens']])).logits, -1).std(-1).mean().item()
    reference.write_json(folder / 'expected.json', dict(
        family=spec['family'], description=spec['says'], made='transformers ' + transformers.__version__,
        storedDtype=spec.get('dtype', 'float32'), numNamedTokens=num_named,
        maxDifferenceFromFloat64=reference.rounded(worst, 3), rows=rows, greedy=greedy_part))
    size = sum(file.stat().st_size for file in folder.iterdir())
    line = f'{name:20} {size / 1000:6.1f} kB  float32 vs float64 {worst:.1e}  spread {spread:.2f} nats'
    if rope['rope_type'] == 'llama3':
        tokens = torch.tensor([rows[-1]['tokens']])
        band = (reference.forward(config, parameters, tokens)
                - reference.forward(config, parameters, tokens, smooth=False)).abs().max().item()
        assert band > 0.5, 'the smoothing band must matter'
        line += f'  without the band: {band:.2f} nats'
    print(line, sorted(p.name for p in folder.iterdir()) if len(list(folder.iterdir())) > 3 else '')
    assert size < 120_000, 'keep fixtures small'


if __name__ == '__main__':
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for index, (name, spec) in enumerate(MODELS.items()):
        if len(sys.argv) == 1 or name in sys.argv[1:]:
            write_family(name, spec, seed=1000 + index)
