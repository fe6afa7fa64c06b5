"""Writes golden/adamw.json (20 optimiser steps on given gradients) and golden/training.json (20 steps of training a model).

torch.optim.AdamW after torch.nn.utils.clip_grad_norm_; training uses the float64 decoder of reference.py, so the folders
of families.py must exist.
"""

import math
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM

import reference

GOLDEN = Path(__file__).resolve().parent.parent / 'golden'
STEPS, WARM_UP = 20, 4
SETTINGS = dict(betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
MAX_NORM = 1.0
TRAINING_MAX_NORM = 3.0  # some of the 20 steps are clipped, some are not
TRAINING_MODEL = 'qwen3'
BATCH, TIME = 4, 24


def learning_rates(peak, floor_fraction=0.1):
    """Linear warm-up to `peak` over WARM_UP steps, then half a cosine down to floor_fraction·peak at the last step."""
    rates = []
    for step in range(STEPS):
        if step < WARM_UP:
            rates.append(peak * (step + 1) / WARM_UP)
        else:
            done = (step - WARM_UP + 1) / (STEPS - WARM_UP)
            rates.append(peak * (floor_fraction + (1 - floor_fraction) * 0.5 * (1 + math.cos(math.pi * done))))
    return rates


def run_optimizer(initial, gradients, rates, dtype):
    """Parameters after every step and the global gradient norm before clipping."""
    parameters = {n: torch.tensor(v, dtype=torch.float64).to(dtype).requires_grad_(True) for n, v in initial.items()}
    optimizer = torch.optim.AdamW(parameters.values(), lr=0.0, foreach=False, **SETTINGS)
    norms, after = [], []
    for rate, step_gradients in zip(rates, gradients):
        for name, parameter in parameters.items():
            parameter.grad = torch.tensor(step_gradients[name], dtype=torch.float64).to(dtype)
        norms.append(torch.nn.utils.clip_grad_norm_(parameters.values(), MAX_NORM).item())
        optimizer.param_groups[0]['lr'] = rate
        optimizer.step()
        after.append({n: p.detach().tolist() for n, p in parameters.items()})
    return norms, after


def write_optimizer():
    generator = torch.Generator().manual_seed(3000)
    # float32 values, so that both runs start from the same numbers
    draw = lambda *shape: torch.randn(*shape, generator=generator)
    shapes = {'matrix': (6, 5), 'vector': (7,), 'cube': (2, 3, 4)}
    initial = {n: reference.rounded(draw(*s)) for n, s in shapes.items()}
    sizes = [0.02, 0.05, 0.1, 1.0, 3.0] * 4  # global norms from 0.15 to 25: on both sides of the limit
    gradients = [{n: reference.rounded(draw(*s) * size) for n, s in shapes.items()} for size in sizes]
    gradients[7]['vector'] = [0.0] * 7
    rates = learning_rates(0.05)
    norms, after = run_optimizer(initial, gradients, rates, torch.float64)
    norms32, after32 = run_optimizer(initial, gradients, rates, torch.float32)
    assert any(n < MAX_NORM for n in norms) and any(n > MAX_NORM for n in norms)
    steps = [dict(learningRate=rate, gradientNorm=reference.rounded(norm, 15), gradients=given,
                  parametersFloat64={n: reference.rounded(v, 15) for n, v in now.items()},
                  parametersFloat32={n: reference.rounded(v) for n, v in now32.items()})
             for rate, norm, given, now, now32 in zip(rates, norms, gradients, after, after32)]
    reference.write_json(GOLDEN / 'adamw.json', dict(
        made='torch ' + torch.__version__.split('+')[0], beta1=SETTINGS['betas'][0], beta2=SETTINGS['betas'][1],
        epsilon=SETTINGS['eps'], weightDecay=SETTINGS['weight_decay'], maxGradientNorm=MAX_NORM,
        shapes={n: list(s) for n, s in shapes.items()}, initial=initial, steps=steps))
    print(f'adamw: norms {min(norms):.2f} to {max(norms):.2f}, float32 norms differ by '
          f'{max(abs(a - b) / a for a, b in zip(norms, norms32)):.1e}')


def training_batches(vocab):
    """Sequences a model can learn: each row walks the ids with a stride of its own; ragged, with prompts left out."""
    generator = torch.Generator().manual_seed(3100)
    batches = []
    for _ in range(STEPS):
        rows = []
        for _ in range(BATCH):
            length = int(torch.randint(10, TIME + 1, (1,), generator=generator))
            start, stride = torch.randint(1, vocab, (2,), generator=generator).tolist()
            tokens = [(start + i * (1 + stride % 5)) % vocab for i in range(length)]
            rows.append(dict(tokens=tokens, responseStart=int(torch.randint(1, 6, (1,), generator=generator))))
        batches.append(rows)
    return batches


def padded(rows):
    """tokens [B, T] (padding: id 0) and weights [B, T] that make the loss the mean over all response tokens of the batch."""
    time = max(len(row['tokens']) for row in rows)
    tokens = torch.zeros(len(rows), time, dtype=torch.long)
    weights = torch.zeros(len(rows), time, dtype=torch.float64)
    for index, row in enumerate(rows):
        tokens[index, :len(row['tokens'])] = torch.tensor(row['tokens'])
        weights[index, row['responseStart']:len(row['tokens'])] = 1
    return tokens, weights / weights.sum()


def train(parameters, compute_logprobs, batches, rates):
    optimizer = torch.optim.AdamW(parameters, lr=0.0, foreach=False, **SETTINGS)
    losses, norms = [], []
    for rows, rate in zip(batches, rates):
        tokens, weights = padded(rows)
        optimizer.zero_grad()
        logprobs = compute_logprobs(tokens)
        loss = (weights.to(logprobs.dtype) * reference.token_nll(logprobs, tokens)).sum()
        loss.backward()
        losses.append(loss.item())
        norms.append(torch.nn.utils.clip_grad_norm_(parameters, TRAINING_MAX_NORM).item())
        optimizer.param_groups[0]['lr'] = rate
        optimizer.step()
    return losses, norms


def write_training():
    folder = GOLDEN / 'families' / TRAINING_MODEL
    config, parameters = reference.load_folder(folder)
    batches, rates = training_batches(config['vocab_size']), learning_rates(0.02)
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    losses, norms = train(list(parameters.values()), lambda t: reference.forward(config, parameters, t), batches, rates)

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation='eager')
    losses32, _ = train(list(model.parameters()),
                        lambda t: torch.log_softmax(model(t, use_cache=False).logits, -1), batches, rates)
    assert min(norms) < TRAINING_MAX_NORM < max(norms), norms
    difference32 = [abs(a - b) for a, b in zip(losses, losses32)]
    named = dict(model.named_parameters())
    worst = max((named[n].detach().double() - p.detach()).abs().max().item() for n, p in parameters.items())
    final = [dict(name=n, shape=list(p.shape), norm=reference.rounded(p.detach().norm().item(), 14),
                  stride=max(1, p.numel() // 5), values=reference.rounded(p.detach().flatten()[::max(1, p.numel() // 5)][:6], 14))
             for n, p in sorted(parameters.items())]
    reference.write_json(GOLDEN / 'training.json', dict(
        model=f'families/{TRAINING_MODEL}', made='torch ' + torch.__version__.split('+')[0],
        beta1=SETTINGS['betas'][0], beta2=SETTINGS['betas'][1], epsilon=SETTINGS['eps'],
        weightDecay=SETTINGS['weight_decay'], maxGradientNorm=TRAINING_MAX_NORM,
        transformersFloat32=dict(losses=losses32, largestParameterDifference=reference.rounded(worst, 3)),
        steps=[dict(learningRate=rate, loss=reference.rounded(loss, 14), gradientNorm=reference.rounded(norm, 14), rows=rows)
               for rate, loss, norm, rows in zip(rates, losses, norms, batches)],
        finalParameters=final))
    print(f'training: loss {losses[0]:.4f} -> {losses[-1]:.4f}, norms {min(norms):.2f} to {max(norms):.2f}; '
          f'transformers float32: losses within {max(difference32):.1e}, parameters within {worst:.1e}')


if __name__ == '__main__':
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    write_optimizer()
    write_training()
