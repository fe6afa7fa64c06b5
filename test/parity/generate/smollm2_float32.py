"""Writes golden/llama-cpp/smollm2-float32.json: prompts and greedy tokens of SmolLM2-135M-Instruct, dequantised to float32.

Run: python smollm2_float32.py SmolLM2-135M-Instruct.Q4_1.gguf gsm8k/test.jsonl
The prompts are the first questions of the file, through the chat template inside the GGUF file (rendered by jinja).
llama-cpp-greedy.mjs reads this file and adds llama.cpp's answer.
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

import reference

GOLDEN = Path(__file__).resolve().parent.parent / 'golden' / 'llama-cpp' / 'smollm2-float32.json'
NUM_PROMPTS, NUM_TOKENS = 20, 48


def greedy(model, prompt, eos):
    """One dict of lists over steps: token, its logprob, the second-best token and best − second logit; eos is kept and ends it."""
    tokens, logprobs, seconds, gaps = [], [], [], []
    ids, cache = torch.tensor([prompt]), None
    while len(tokens) < NUM_TOKENS and (not tokens or tokens[-1] != eos):
        output = model(ids, past_key_values=cache, use_cache=True)
        cache, logits = output.past_key_values, output.logits[0, -1]
        values, indices = logits.topk(2)
        tokens.append(indices[0].item())
        seconds.append(indices[1].item())
        gaps.append((values[0] - values[1]).item())
        logprobs.append((values[0] - logits.logsumexp(-1)).item())
        ids = indices[:1].view(1, 1)
    return dict(tokens=tokens, logprobs=reference.rounded(logprobs, 7), seconds=seconds, gaps=reference.rounded(gaps, 6))


@torch.no_grad()
def main(gguf_path, questions_path):
    gguf_path = Path(gguf_path)
    source = dict(pretrained_model_name_or_path=str(gguf_path.parent), gguf_file=gguf_path.name)
    tokenizer = AutoTokenizer.from_pretrained(**source)
    model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32, attn_implementation='eager').eval()
    rows = []
    with open(questions_path, encoding='utf-8') as file:
        questions = [json.loads(next(file))['question'] for _ in range(NUM_PROMPTS)]
    for index, question in enumerate(questions):
        messages = [dict(role='user', content=question)]
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        prompt = tokenizer.encode(text, add_special_tokens=False)
        rows.append(dict(id=f'gsm8k-test-{index}', messages=messages, prompt=text, promptTokens=prompt,
                         **greedy(model, prompt, tokenizer.eos_token_id)))
        print(f'{index + 1}/{NUM_PROMPTS}: {len(prompt)} prompt tokens, smallest gap {min(rows[-1]["gaps"]):.4f}', flush=True)
    reference.write_json(GOLDEN, dict(
        model=gguf_path.name, made=f'transformers {transformers.__version__}, torch {torch.__version__.split("+")[0]}, float32, eager',
        eosTokenId=tokenizer.eos_token_id, chatTemplate=tokenizer.chat_template, rows=rows))


if __name__ == '__main__':
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    main(*sys.argv[1:])
