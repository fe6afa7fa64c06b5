"""The benchmark's training step in PyTorch: forward, backward, clip to norm 1, AdamW. Prints one JSON line.

    python pytorch_train.py --config b --threads 1 --seconds 20 [--bf16] [--compile] [--attention explicit]

The model is the decoder azeotrope trains (RMSNorm, rotary embedding, grouped heads, SwiGLU, tied head), written with
PyTorch's own operations for each part (`rms_norm`, `scaled_dot_product_attention`, `cross_entropy`, foreach AdamW).
"""

import argparse
import json
import resource
import statistics
import time

import torch
import torch.nn.functional as F

CONFIGS = {
    'a': dict(width=128, layers=4, heads=4, kv_heads=4, head_size=32, mlp=384, vocab=512, batch=32, time=128),
    'b': dict(width=320, layers=6, heads=5, kv_heads=5, head_size=64, mlp=896, vocab=4096, batch=16, time=128),
    'c': dict(width=512, layers=8, heads=8, kv_heads=4, head_size=64, mlp=1408, vocab=8192, batch=8, time=256),
    's': dict(width=576, layers=30, heads=9, kv_heads=3, head_size=64, mlp=1536, vocab=49152, batch=4, time=256),
}
EPSILON, THETA = 1e-5, 10000.0
WARM_UP_STEPS = 2


class Linear(torch.nn.Linear):
    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs, bias=False)
        torch.nn.init.normal_(self.weight, std=inputs ** -0.5)


def fused_attention(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=q.shape[1] != k.shape[1])


def explicit_attention(q, k, v):
    group, time = q.shape[1] // k.shape[1], q.shape[2]
    if group > 1:
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    mask = torch.full((time, time), float('-inf'), dtype=q.dtype).triu(1)
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + mask
    return torch.softmax(scores, -1, dtype=q.dtype) @ v


ATTENTIONS = {'fused': fused_attention, 'explicit': explicit_attention}


class Layer(torch.nn.Module):
    def __init__(self, c, attend):
        super().__init__()
        self.attend = attend
        self.heads, self.kv_heads, self.head_size = c['heads'], c['kv_heads'], c['head_size']
        self.attention_norm = torch.nn.RMSNorm(c['width'], eps=EPSILON)
        self.query = Linear(c['width'], c['heads'] * c['head_size'])
        self.key = Linear(c['width'], c['kv_heads'] * c['head_size'])
        self.value = Linear(c['width'], c['kv_heads'] * c['head_size'])
        self.output = Linear(c['heads'] * c['head_size'], c['width'])
        self.mlp_norm = torch.nn.RMSNorm(c['width'], eps=EPSILON)
        self.gate = Linear(c['width'], c['mlp'])
        self.up = Linear(c['width'], c['mlp'])
        self.down = Linear(c['mlp'], c['width'])

    def forward(self, x, cos, sin):  # x [B, T, C]
        batch, time, _ = x.shape

        def split(y, heads):
            return y.view(batch, time, heads, self.head_size).transpose(1, 2)

        def rotate(y):
            a, b = y.chunk(2, -1)
            return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(y.dtype)

        h = self.attention_norm(x)
        q, k, v = split(self.query(h), self.heads), split(self.key(h), self.kv_heads), split(self.value(h), self.kv_heads)
        mixed = self.attend(rotate(q), rotate(k), v)
        x = x + self.output(mixed.transpose(1, 2).reshape(batch, time, -1))
        h = self.mlp_norm(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Decoder(torch.nn.Module):
    def __init__(self, c, attend):
        super().__init__()
        self.embedding = torch.nn.Parameter(torch.randn(c['vocab'], c['width']) * 0.05)
        self.layers = torch.nn.ModuleList(Layer(c, attend) for _ in range(c['layers']))
        self.norm = torch.nn.RMSNorm(c['width'], eps=EPSILON)
        half = torch.arange(0, c['head_size'], 2) / c['head_size']
        angles = torch.arange(c['time'])[:, None] * THETA ** -half[None]
        self.register_buffer('cos', angles.cos())
        self.register_buffer('sin', angles.sin())

    def forward(self, tokens, targets):  # [B, T] both; mean loss in nats
        x = F.embedding(tokens, self.embedding)
        for layer in self.layers:
            x = layer(x, self.cos, self.sin)
        logits = F.linear(self.norm(x), self.embedding)
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def peak_rss_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in kB


def product_rate(repeats=10):
    """Best 1024³ float32 product of `repeats`, in GFLOP/s."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    best = float('inf')
    for _ in range(repeats):
        start = time.perf_counter()
        torch.mm(a, b)
        best = min(best, time.perf_counter() - start)
    return 2 * 1024 ** 3 / best / 1e9


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--config', choices=CONFIGS, required=True)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--seconds', type=float, default=20)
    parser.add_argument('--bf16', action='store_true', help='bfloat16 autocast of forward and backward')
    parser.add_argument('--compile', action='store_true', help='torch.compile (needs a C++ compiler)')
    parser.add_argument('--attention', choices=ATTENTIONS, help=(
        'fused: scaled_dot_product_attention; explicit: matmul, softmax, matmul; '
        'default: whichever was measured faster, explicit with --bf16 and fused without'))
    arguments = parser.parse_args()
    attention = arguments.attention or ('explicit' if arguments.bf16 else 'fused')
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    imported = peak_rss_bytes()
    c = CONFIGS[arguments.config]
    model = Decoder(c, ATTENTIONS[attention])
    compute = torch.compile(model) if arguments.compile else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, foreach=True)
    tokens, targets = torch.randint(0, c['vocab'], (2, c['batch'], c['time']))

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast('cpu', torch.bfloat16, enabled=arguments.bf16):
            loss = compute(tokens, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
        optimizer.step()
        return loss.item()

    first_loss = step()
    for _ in range(WARM_UP_STEPS - 1):
        step()
    rate = product_rate()
    durations, loss, begin = [], first_loss, time.perf_counter()
    while len(durations) < 3 or time.perf_counter() - begin < arguments.seconds:
        start = time.perf_counter()
        loss = step()
        durations.append(time.perf_counter() - start)
    rate = max(rate, product_rate())
    count, num_tokens = sum(p.numel() for p in model.parameters()), tokens.numel()
    median, best = statistics.median(durations), min(durations)
    print(json.dumps(dict(
        peer='pytorch', version=torch.__version__, config=arguments.config, threads=arguments.threads,
        bf16=arguments.bf16, compile=arguments.compile, attention=attention, numParameters=count, tokensPerStep=num_tokens,
        tokensPerSecondMedian=round(num_tokens / median, 1), tokensPerSecondBest=round(num_tokens / best, 1),
        productGflops=round(rate, 1), shareOfProductRateBest=round(6 * count * num_tokens / best / 1e9 / rate, 4),
        peakRssBytes=peak_rss_bytes(), importedRssBytes=imported,
        firstLossNats=first_loss, lastLossNats=loss, stepMs=[round(d * 1e3, 2) for d in durations])))


if __name__ == '__main__':
    main()
