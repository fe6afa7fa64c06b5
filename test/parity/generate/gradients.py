"""Writes golden/gradients/ (losses, parameter gradients, a forward-mode derivative) and golden/lora/ (a PEFT adapter).

Everything is computed in float64 by reference.py on the folders of families.py; needs those to be written first.
Before writing, the same loss and gradients are taken from `transformers` (and `peft`) in float32 and must agree.
"""

import json
import shutil
from pathlib import Path

import peft
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import reference

GOLDEN = Path(__file__).resolve().parent.parent / 'golden'
GRADIENT_MODELS = ['llama3.2', 'llama-bias', 'qwen3']
JVP_MODEL = 'qwen2'
LORA_MODEL = 'qwen2'
LORA_TARGETS = ['q_proj', 'v_proj', 'down_proj']
LORA_RANK, LORA_ALPHA = 4, 8
LENGTHS = [21, 13, 8, 2]


def ragged_batch(config, generator):
    """tokens [B, T] padded with id 0, lengths, weights [B, T]: unequal, some zero, zero at position 0 and in the padding."""
    batch, time = len(LENGTHS), max(LENGTHS)
    tokens = torch.randint(0, config['vocab_size'], (batch, time), generator=generator)
    weights = torch.rand(batch, time, generator=generator, dtype=torch.float64).mul(1000).round() / 10000
    weights[torch.rand(batch, time, generator=generator) < 0.3] = 0
    weights[:, 0] = 0
    weights[0, 1:6] = 0  # as for a prompt
    for row, length in enumerate(LENGTHS):
        tokens[row, length:] = 0
        weights[row, length:] = 0
    weights[-1, 1] = 0.05
    return tokens, weights


def reference_loss(config, parameters, tokens, weights, lora=None):
    nll = reference.token_nll(reference.forward(config, parameters, tokens, lora=lora), tokens)
    return (weights * nll).sum(), nll


def transformers_loss(model, tokens, weights):
    return (weights.float() * reference.token_nll(torch.log_softmax(model(tokens, use_cache=False).logits, -1), tokens)).sum()


def load_float32(name):
    return AutoModelForCausalLM.from_pretrained(
        GOLDEN / 'families' / name, dtype=torch.float32, attn_implementation='eager').eval()


def largest_relative(actual, truth):
    """Worst over tensors of max |difference| / max |truth|."""
    return max(((actual[n].double() - truth[n]).abs().max() / truth[n].abs().max()).item() for n in truth)


def rows_of(tokens, weights, nll):
    """Unpadded rows; the padding is the reader's business."""
    return [dict(tokens=tokens[row, :length].tolist(), weights=weights[row, :length].tolist(),
                 nll=[None] + reference.rounded(nll[row, 1:length], 12)) for row, length in enumerate(LENGTHS)]


def write_gradients(name, generator):
    config, parameters = reference.load_folder(GOLDEN / 'families' / name)
    tokens, weights = ragged_batch(config, generator)
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    loss, nll = reference_loss(config, parameters, tokens, weights)
    gradients = dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values()))))

    model = load_float32(name)
    loss32 = transformers_loss(model, tokens, weights)
    loss32.backward()
    named = dict(model.named_parameters())
    difference = largest_relative({n: named[n].grad for n in gradients}, gradients)
    assert difference < 5e-5 and abs(loss32.item() - loss.item()) < 1e-4, (name, difference)

    folder = GOLDEN / 'gradients'
    folder.mkdir(parents=True, exist_ok=True)
    save_file({n: g.float().contiguous() for n, g in gradients.items()}, folder / f'{name}.safetensors')
    norm = torch.sqrt(sum(g.pow(2).sum() for g in gradients.values()))
    reference.write_json(folder / f'{name}.json', dict(
        model=f'families/{name}', gradients=f'{name}.safetensors', loss=reference.rounded(loss.item(), 14),
        gradientNorm=reference.rounded(norm.item(), 14),
        transformersFloat32=dict(loss=loss32.item(), largestRelativeGradientDifference=reference.rounded(difference, 3)),
        rows=rows_of(tokens, weights, nll.detach())))
    print(f'{name}: loss {loss.item():.6f}, |g| {norm.item():.4f}, transformers float32 differs by {difference:.1e}')


def write_jvp(generator):
    """d/dε log p(· | tokens ≤ t; θ + ε·direction) at ε = 0, by forward mode; checked by central differences in float64."""
    config, parameters = reference.load_folder(GOLDEN / 'families' / JVP_MODEL)
    tokens = torch.randint(0, config['vocab_size'], (2, 11), generator=generator)
    # rounded to float32 first: the stored direction is exactly the one used
    direction = {n: torch.randn(p.shape, generator=generator).double() for n, p in parameters.items()}
    compute = lambda p: reference.forward(config, p, tokens)
    logprobs, tangents = torch.func.jvp(compute, (parameters,), (direction,))
    step = 1e-6
    moved = lambda sign: compute({n: p + sign * step * direction[n] for n, p in parameters.items()})
    central = (moved(1) - moved(-1)) / (2 * step)
    difference = ((central - tangents).abs().max() / tangents.abs().max()).item()
    assert difference < 1e-6, difference
    stored = {f'direction.{n}': d.float() for n, d in direction.items()}
    stored |= {'logprobs': logprobs.float().contiguous(), 'tangents': tangents.float().contiguous()}
    save_file(stored, GOLDEN / 'gradients' / 'jvp.safetensors')
    reference.write_json(GOLDEN / 'gradients' / 'jvp.json', dict(
        model=f'families/{JVP_MODEL}', tensors='jvp.safetensors', tokens=tokens.tolist(),
        largestTangent=reference.rounded(tangents.abs().max().item(), 6),
        centralDifferenceRelative=reference.rounded(difference, 3)))
    print(f'jvp: largest tangent {tangents.abs().max():.3f}, central differences agree to {difference:.1e}')


def write_lora(generator):
    folder = GOLDEN / 'lora'
    shutil.rmtree(folder, ignore_errors=True)
    config, parameters = reference.load_folder(GOLDEN / 'families' / LORA_MODEL)
    model = peft.get_peft_model(load_float32(LORA_MODEL), peft.LoraConfig(
        r=LORA_RANK, lora_alpha=LORA_ALPHA, lora_dropout=0.0, target_modules=LORA_TARGETS, task_type='CAUSAL_LM'))
    for name, parameter in model.named_parameters():
        if 'lora_' in name:  # peft starts B at zero, which would hide A's gradient and the merge
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.5 / parameter.shape[1] ** 0.5)
    model.eval()
    model.save_pretrained(folder / 'adapter')
    (folder / 'adapter' / 'README.md').unlink(missing_ok=True)
    path = folder / 'adapter' / 'adapter_config.json'
    settings = json.loads(path.read_text())
    settings['base_model_name_or_path'] = f'families/{LORA_MODEL}'  # not a path of the machine that made it
    settings['target_modules'] = sorted(settings['target_modules'])  # peft keeps a set: the order would change run to run
    path.write_text(json.dumps(settings, indent=2, sort_keys=True) + '\n')

    stored = load_file(folder / 'adapter' / 'adapter_model.safetensors')
    leaves = {n: p.double().requires_grad_(True) for n, p in stored.items()}
    prefix, pairs = 'base_model.model.', {}
    for name in leaves:
        if name.endswith('.lora_A.weight'):
            module = name[len(prefix):-len('.lora_A.weight')]
            pairs[module] = (leaves[name], leaves[name.replace('lora_A', 'lora_B')])
    tokens, weights = ragged_batch(config, generator)
    loss, nll = reference_loss(config, parameters, tokens, weights, lora=(LORA_ALPHA / LORA_RANK, pairs))
    gradients = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values()))))

    transformers_loss(model, tokens, weights).backward()
    named = dict(model.named_parameters())
    difference = largest_relative(
        {n: named[n.replace('.weight', '.default.weight')].grad for n in gradients}, gradients)
    assert difference < 5e-5, difference
    save_file({n: g.float().contiguous() for n, g in gradients.items()}, folder / 'gradients.safetensors')

    probe = tokens[:1, :LENGTHS[0]]
    with torch.no_grad():
        base = reference.forward(config, parameters, probe)
        truth = reference.forward(config, parameters, probe, lora=(LORA_ALPHA / LORA_RANK, pairs))
        merged = torch.log_softmax(model.merge_and_unload()(probe, use_cache=False).logits, -1)
    assert (merged - truth).abs().max() < 1e-4
    chosen = lambda logprobs: [None] + reference.rounded(-reference.token_nll(logprobs, probe)[0, 1:], 11)
    reference.write_json(folder / 'expected.json', dict(
        model=f'families/{LORA_MODEL}', adapter='adapter', gradients='gradients.safetensors', made='peft ' + peft.__version__,
        rank=LORA_RANK, alpha=LORA_ALPHA, targetModules=LORA_TARGETS, loss=reference.rounded(loss.item(), 14),
        largestRelativeGradientDifference=reference.rounded(difference, 3), rows=rows_of(tokens, weights, nll.detach()),
        tokens=probe[0].tolist(), baseLogprobs=chosen(base), adaptedLogprobs=chosen(truth), mergedLogprobsFloat32=chosen(merged)))
    print(f'lora: loss {loss.item():.6f}, peft float32 gradients differ by {difference:.1e}, '
          f'adapter moves logprobs by {(truth - base).abs().max():.2f} nats')


if __name__ == '__main__':
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    shutil.rmtree(GOLDEN / 'gradients', ignore_errors=True)
    for index, name in enumerate(GRADIENT_MODELS):
        write_gradients(name, torch.Generator().manual_seed(2000 + index))
    write_jvp(torch.Generator().manual_seed(2100))
    write_lora(torch.Generator().manual_seed(2200))
