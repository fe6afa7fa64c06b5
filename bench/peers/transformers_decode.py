"""Prefill and decoding speed of a checkpoint under `transformers`. Prints one JSON line.

    python transformers_decode.py --model FOLDER_OR_GGUF --batch 32 --prompt 64 --new 64 --threads 1 --dtype float32 --cache static

Prompts are random ids; end-of-sequence is ignored, so every row yields exactly `--new` tokens. With `--config b` a random model of
the training benchmark's shape is made instead of loading one.
"""

import argparse
import json
import resource
import statistics
import time
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM


def peak_rss_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in kB


def load(path, dtype):
    path = Path(path)
    source = dict(pretrained_model_name_or_path=str(path.parent), gguf_file=path.name) if path.suffix == '.gguf' else dict(
        pretrained_model_name_or_path=str(path))
    return AutoModelForCausalLM.from_pretrained(**source, dtype=dtype).eval()


def make(name, dtype):
    from pytorch_train import CONFIGS, EPSILON, THETA
    c = CONFIGS[name]
    config = LlamaConfig(
        hidden_size=c['width'], num_hidden_layers=c['layers'], num_attention_heads=c['heads'], head_dim=c['head_size'],
        num_key_value_heads=c['kv_heads'], intermediate_size=c['mlp'], vocab_size=c['vocab'], rms_norm_eps=EPSILON,
        rope_parameters=dict(rope_type='default', rope_theta=THETA), max_position_embeddings=4096, tie_word_embeddings=True)
    return LlamaForCausalLM(config).to(dtype).eval()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument('--model', help='Hugging Face folder or .gguf file')
    which.add_argument('--config', choices=['a', 'b', 'c'], help='random weights of a benchmark shape')
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument('--prompt', type=int, default=64, help='prompt length in tokens')
    parser.add_argument('--new', type=int, default=64, help='new tokens a row')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--dtype', choices=['float32', 'bfloat16'], default='float32')
    parser.add_argument('--cache', choices=['dynamic', 'static'], default='dynamic')
    parser.add_argument('--repeats', type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    dtype = getattr(torch, arguments.dtype)
    imported = peak_rss_bytes()
    start = time.perf_counter()
    model = make(arguments.config, dtype) if arguments.config else load(arguments.model, dtype)
    load_seconds = time.perf_counter() - start
    prompt = torch.randint(0, model.config.vocab_size, (arguments.batch, arguments.prompt))

    @torch.inference_mode()
    def generate(count):
        begin = time.perf_counter()
        options = dict(min_new_tokens=count, max_new_tokens=count, do_sample=False, pad_token_id=0, eos_token_id=None)
        if arguments.cache == 'static':
            options.update(cache_implementation='static', disable_compile=True)
        output = model.generate(prompt, attention_mask=torch.ones_like(prompt), **options)
        assert output.shape[1] == arguments.prompt + count, output.shape
        return time.perf_counter() - begin

    generate(2)
    prefill = [generate(1) for _ in range(arguments.repeats)]
    total = [generate(arguments.new) for _ in range(arguments.repeats)]
    # the first new token belongs to the prefill
    decode = [whole - statistics.median(prefill) for whole in total]
    num_decoded = arguments.batch * (arguments.new - 1)
    num_prompt = arguments.batch * arguments.prompt
    print(json.dumps(dict(
        peer='transformers', version=transformers.__version__, torch=torch.__version__,
        model=arguments.config or Path(arguments.model).name, threads=arguments.threads, dtype=arguments.dtype,
        cache=arguments.cache, batch=arguments.batch, promptTokens=arguments.prompt, newTokens=arguments.new,
        numParameters=sum(p.numel() for p in model.parameters()),
        decodeTokensPerSecondMedian=round(num_decoded / statistics.median(decode), 1),
        decodeTokensPerSecondBest=round(num_decoded / min(decode), 1),
        promptTokensPerSecondMedian=round(num_prompt / statistics.median(prefill), 1),
        promptTokensPerSecondBest=round(num_prompt / min(prefill), 1),
        endToEndTokensPerSecondMedian=round(arguments.batch * arguments.new / statistics.median(total), 1),
        loadSeconds=round(load_seconds, 3), peakRssBytes=peak_rss_bytes(),
        importedRssBytes=imported)))


if __name__ == '__main__':
    main()
