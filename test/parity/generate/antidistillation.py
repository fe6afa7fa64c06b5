"""Writes golden/antidistillation.json: a proxy's gradient, Δ by forward mode and by differences, and sampling distributions.

Everything is computed in float64 by reference.py on the folders of families.py; needs those to be written first. Δ is taken in two
ways that share nothing but the forward pass (forward mode, and the inner product of reverse-mode gradients with g), which must agree.
"""

from pathlib import Path

import torch

import reference

GOLDEN = Path(__file__).resolve().parent.parent / 'golden'
TEACHER, PROXY = 'qwen3', 'qwen2'
HOLDOUT = [(23, 7), (9, 0), (14, 13), (31, 4), (5, 2)]  # tokens, responseStart
ROWS = [2, 12, 40, 1]
EPSILON = 1e-4
SETTINGS = [(1.0, 0.0), (1.0, 0.05), (0.6, 0.2), (1.7, -0.1)]  # temperature, lambda


def holdout_rows(vocabulary, generator):
    return [dict(id=f'h{index}', tokens=torch.randint(0, vocabulary, (length,), generator=generator).tolist(), responseStart=start)
            for index, (length, start) in enumerate(HOLDOUT)]


def mean_loss(config, parameters, rows):
    """Summed over all response tokens of all rows, divided by their number."""
    total, count = 0.0, 0
    for row in rows:
        tokens = torch.tensor([row['tokens']])
        first = max(1, row['responseStart'])
        nll = reference.token_nll(reference.forward(config, parameters, tokens), tokens)[0, first:]
        total, count = total + nll.sum(), count + nll.numel()
    return total / count, count


def main():
    generator = torch.Generator().manual_seed(3000)
    config, parameters = reference.load_folder(GOLDEN / 'families' / PROXY)
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    holdout = holdout_rows(config['vocab_size'], generator)
    loss, count = mean_loss(config, parameters, holdout)
    gradient = dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values()))))
    square = sum(g.pow(2).sum() for g in gradient.values()).item()
    fixed = {name: parameter.detach() for name, parameter in parameters.items()}

    def logprobs_at(step, tokens):
        moved = {name: value + step * gradient[name] for name, value in fixed.items()}
        return reference.forward(config, moved, tokens)[0]

    def exact(tokens):
        return torch.func.jvp(lambda p: reference.forward(config, p, tokens)[0], (fixed,), (gradient,))[1]

    # −‖g‖² is the mean of Δ over the holdout's own response tokens
    deltas = torch.cat([exact(torch.tensor([row['tokens']]))[:-1].gather(1, torch.tensor(row['tokens'])[1:, None])[max(1, row['responseStart']) - 1:, 0]
                        for row in holdout])
    assert deltas.numel() == count and abs(deltas.mean().item() + square) < 1e-12 * square, (deltas.mean(), square)

    teacher_config, teacher = reference.load_folder(GOLDEN / 'families' / TEACHER)
    rows = []
    for index, length in enumerate(ROWS):
        tokens = torch.randint(0, config['vocab_size'], (1, length), generator=generator)
        delta = exact(tokens)
        # reverse mode, one output at a time
        for position, token in [(0, 5), (length - 1, 60)]:
            chosen = reference.forward(config, parameters, tokens)[0, position, token]
            inner = sum((g * d).sum() for g, d in zip(gradient.values(), torch.autograd.grad(chosen, list(parameters.values()))))
            assert abs(inner - delta[position, token]) < 1e-10 * delta.abs().max()
        plus, minus, here = logprobs_at(EPSILON, tokens), logprobs_at(-EPSILON, tokens), logprobs_at(0, tokens)
        given = lambda values: [None] + reference.rounded(values[:-1].gather(1, tokens[0, 1:, None])[:, 0], 12)
        top = delta[-1].topk(5)
        last = reference.forward(teacher_config, teacher, tokens)[0, -1]
        rows.append(dict(
            id=f'r{index}', tokens=tokens[0].tolist(), delta=given(delta),
            central=given((plus - minus) / (2 * EPSILON)), forward=given((plus - here) / EPSILON),
            topAfterLast=[[int(i), reference.rounded(v.item(), 12)] for i, v in zip(top.indices, top.values)],
            deltaAfterLast=reference.rounded(delta[-1].detach(), 12),
            probabilities=[dict(temperature=t, **{'lambda': l}, values=reference.rounded(torch.softmax(last / t + l * delta[-1].detach(), -1), 12))
                           for t, l in SETTINGS]))
    sampled = []
    for name, value in gradient.items():
        flat = value.reshape(-1)
        stride = max(1, flat.numel() // 5)
        sampled.append(dict(name=name, shape=list(value.shape), norm=reference.rounded(value.norm().item(), 12), stride=stride,
                            values=reference.rounded(flat[::stride], 12)))
    reference.write_json(GOLDEN / 'antidistillation.json', dict(
        teacher=f'families/{TEACHER}', proxy=f'families/{PROXY}', holdout=holdout, lossNats=reference.rounded(loss.item(), 14),
        responseTokens=count, gradientNorm=reference.rounded(square ** 0.5, 14), epsilon=EPSILON, gradient=sampled, rows=rows))
    print(f'loss {loss.item():.6f} over {count} tokens, |g| {square ** 0.5:.4f}, largest Δ of the last row {delta.abs().max():.3f}')


if __name__ == '__main__':
    torch.set_num_threads(1)
    main()
