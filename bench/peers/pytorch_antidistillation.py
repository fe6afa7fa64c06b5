"""Antidistillation sampling as the authors' released program does it, in PyTorch. Prints one JSON line.

    python pytorch_antidistillation.py --batch 32 --prompt 16 --new 100 --threads 1

A teacher of the benchmark's 9 M shape, and two proxies theta + eps*g and theta - eps*g of 3/7 of its compute, each a `transformers`
Llama with a key/value cache of its own. A loop like that of `generate`: one forward pass of each a token, logits of the teacher plus
lambda times the central difference of the proxies' logits, divided by the temperature, cut at top-p 0.95, drawn. Plain sampling is the
same loop without the proxies. Weights are random: what they hold changes no cost.
"""

import argparse
import json
import resource
import statistics
import time

import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

TEACHER = dict(hidden_size=320, num_hidden_layers=6, num_attention_heads=5, num_key_value_heads=5, head_dim=64, intermediate_size=896)
PROXY = dict(hidden_size=224, num_hidden_layers=5, num_attention_heads=7, num_key_value_heads=7, head_dim=32, intermediate_size=576)
VOCABULARY = 4096
TEMPERATURE, TOP_P, LAMBDA, STEP = 0.6, 0.95, 1e-3, 1e-2


def make(shape):
    config = LlamaConfig(**shape, vocab_size=VOCABULARY, max_position_embeddings=4096, tie_word_embeddings=True)
    return LlamaForCausalLM(config).eval()


def perturbed(shape, state, step):
    """theta + step*g, with random signs for g."""
    model = make(shape)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            sign = torch.randint(0, 2, parameter.shape, generator=generator) * 2 - 1
            parameter.copy_(state[name] + step * 1e-3 * sign)
    return model


def cut(logits):
    """top-p as in transformers' TopPLogitsWarper."""
    ordered, places = torch.sort(logits, descending=False)
    removed = ordered.softmax(-1).cumsum(-1) <= 1 - TOP_P
    removed[..., -1:] = False
    return logits.masked_fill(removed.scatter(1, places, removed), float('-inf'))


@torch.inference_mode()
def sample(prompt, count, teacher, proxies, generator):
    models = [teacher, *proxies]
    caches = [transformers.DynamicCache(config=model.config) for model in models]
    tokens = prompt
    position = 0
    decode_seconds = 0.0
    for step in range(count):
        begin = time.perf_counter()
        places = torch.arange(position, position + tokens.shape[1]).unsqueeze(0)
        logits = [
            model(input_ids=tokens, past_key_values=cache, position_ids=places, use_cache=True, logits_to_keep=1).logits[:, -1].float()
            for model, cache in zip(models, caches)
        ]
        position += tokens.shape[1]
        scores = logits[0]
        if proxies:
            scores = scores + LAMBDA * (logits[1] - logits[2]) / (2 * STEP)
        probabilities = cut(scores / TEMPERATURE).softmax(-1)
        tokens = torch.multinomial(probabilities, 1, generator=generator)
        if step > 0:  # the first token belongs to the prompt
            decode_seconds += time.perf_counter() - begin
    return decode_seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--batch', type=int, default=32)
    parser.add_argument('--prompt', type=int, default=16)
    parser.add_argument('--new', type=int, default=100)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--seconds', type=float, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    transformers.logging.set_verbosity_error()
    teacher, base = make(TEACHER), make(PROXY)
    state = base.state_dict()
    proxies = [perturbed(PROXY, state, STEP), perturbed(PROXY, state, -STEP)]
    generator = torch.Generator().manual_seed(2)
    prompt = torch.randint(0, VOCABULARY, (arguments.batch, arguments.prompt), generator=generator)
    for companions in ([], proxies):
        sample(prompt, 4, teacher, companions, generator)
    rounds = []
    begin = time.perf_counter()
    while len(rounds) < 3 or time.perf_counter() - begin < arguments.seconds:
        rounds.append([sample(prompt, arguments.new, teacher, companions, generator) for companions in ([], proxies)])
    drawn = arguments.batch * (arguments.new - 1)
    print(json.dumps(dict(
        peer='PyTorch, reference style', version=transformers.__version__, torch=torch.__version__, threads=arguments.threads,
        batch=arguments.batch, promptTokens=arguments.prompt, newTokens=arguments.new, numRounds=len(rounds),
        plainTokensPerSecond=round(drawn / statistics.median(plain for plain, _ in rounds), 1),
        defendedTokensPerSecond=round(drawn / statistics.median(tilted for _, tilted in rounds), 1),
        relative=round(statistics.median(tilted / plain for plain, tilted in rounds), 3),
        peakRssBytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)))


if __name__ == '__main__':
    main()
