"""Fine-tuning steps of a model under `transformers`: forward, backward, clip to norm 1, AdamW. Prints one JSON line.

    python transformers_train.py --config s --threads 2 --seconds 20 [--dtype float32|autocast|bfloat16] [--rank 16]

The model is a Llama with random weights of the training benchmark's shape. `autocast` keeps float32 weights and computes in bfloat16;
`bfloat16` keeps weights and moments in bfloat16 too. With `--rank` peft trains adapters of every linear layer instead.
"""

import argparse
import json
import resource
import statistics
import time

import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

from pytorch_train import CONFIGS, EPSILON

THETA = 100000.0
WARM_UP_STEPS = 2
MODULES = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj']


def peak_rss_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in kB


def make(c, dtype, attention):
    config = LlamaConfig(
        hidden_size=c['width'], num_hidden_layers=c['layers'], num_attention_heads=c['heads'], head_dim=c['head_size'],
        num_key_value_heads=c['kv_heads'], intermediate_size=c['mlp'], vocab_size=c['vocab'], rms_norm_eps=EPSILON,
        rope_parameters=dict(rope_type='default', rope_theta=THETA), max_position_embeddings=4096, tie_word_embeddings=True,
        use_cache=False, attn_implementation=attention)
    return LlamaForCausalLM(config).to(dtype).train()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--config', choices=CONFIGS, required=True)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--seconds', type=float, default=20)
    parser.add_argument('--dtype', choices=['float32', 'autocast', 'bfloat16'], default='float32')
    parser.add_argument('--rank', type=int, default=0, help='of adapters (peft); 0: all weights')
    parser.add_argument('--attention', choices=['sdpa', 'eager'], default='sdpa')
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    transformers.logging.set_verbosity_error()
    c = CONFIGS[arguments.config]
    model = make(c, torch.bfloat16 if arguments.dtype == 'bfloat16' else torch.float32, arguments.attention)
    count = sum(p.numel() for p in model.parameters())
    if arguments.rank > 0:
        from peft import LoraConfig, get_peft_model
        model = get_peft_model(model, LoraConfig(
            r=arguments.rank, lora_alpha=2 * arguments.rank, target_modules=MODULES, task_type='CAUSAL_LM'))
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, foreach=True)
    tokens = torch.randint(0, c['vocab'], (c['batch'], c['time']))

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast('cpu', torch.bfloat16, enabled=arguments.dtype == 'autocast'):
            loss = model(input_ids=tokens, labels=tokens).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0, foreach=True)
        optimizer.step()
        return loss.item()

    first_loss = loss = step()
    for _ in range(WARM_UP_STEPS - 1):
        step()
    durations, begin = [], time.perf_counter()
    while len(durations) < 3 or time.perf_counter() - begin < arguments.seconds:
        start = time.perf_counter()
        loss = step()
        durations.append(time.perf_counter() - start)
    median, best = statistics.median(durations), min(durations)
    print(json.dumps(dict(
        peer='transformers', version=transformers.__version__, torch=torch.__version__, config=arguments.config,
        threads=arguments.threads, dtype=arguments.dtype, rank=arguments.rank, attention=arguments.attention,
        numParameters=count, numTrained=sum(p.numel() for p in trained), tokensPerStep=tokens.numel(),
        tokensPerSecondMedian=round(tokens.numel() / median, 1), tokensPerSecondBest=round(tokens.numel() / best, 1),
        peakRssBytes=peak_rss_bytes(), firstLossNats=first_loss, lastLossNats=loss,
        stepMs=[round(d * 1e3, 2) for d in durations])))


if __name__ == '__main__':
    main()
