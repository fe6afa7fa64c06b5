"""Prefill and decoding speed of llama.cpp on a GGUF file, through the C functions of llama-cpp-python. Prints one JSON line.

    python llama_cpp.py --model FILE.gguf --batch 32 --prompt 64 --new 128 --threads 1

Prompts are random ids, a sequence each; end-of-sequence is ignored, so every sequence yields exactly `--new` tokens, the likeliest each
time. One call of llama_decode makes a token of every sequence. Threads that wait for one another spin, as OpenMP does unless told:
OMP_WAIT_POLICY=passive on a machine with other work, where spinning makes two threads 2 to 25 times slower.
"""

import argparse
import ctypes
import json
import resource
import statistics
import sys
import time
from pathlib import Path

import numpy

# this file bears the name of the package, and Python looks beside it first
sys.path = [folder for folder in sys.path if Path(folder).resolve() != Path(__file__).resolve().parent]
import llama_cpp

TOKENS_A_CALL = 512
# the fastest of on and off (automatic chooses on) and of a cache for each sequence and one for all: at batch 1 all are within the noise;
# at batch 32 without flash attention decoding is 0.75 times as fast, with one cache for all 0.8 times, with both changed 0.6 times
FLASH_ATTENTION = llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED
UNIFIED_CACHE = False
LOG_LEVEL_ERROR = 4  # of enum ggml_log_level


def peak_rss_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in kB


@llama_cpp.llama_log_callback
def log_errors(level, text, _):
    if level == LOG_LEVEL_ERROR:
        print(text.decode(errors='replace'), end='', file=sys.stderr)


def library_version():
    """The library's own version, with its commit where the build recorded one; the bindings leave both functions out."""
    def ask(name):
        function = getattr(llama_cpp.llama_cpp._lib, name, None)
        if function is None:
            return 'unknown'
        function.restype = ctypes.c_char_p
        return function().decode()

    version, commit = ask('llama_version'), ask('ggml_commit')
    return version if commit == 'unknown' else f'{version} {commit}'


def load(path, batch, context, threads):
    model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
    if model is None:
        raise SystemExit(f'{path}: llama.cpp cannot load it')
    params = llama_cpp.llama_context_default_params()
    params.n_ctx, params.n_seq_max = batch * context, batch
    params.n_batch = params.n_ubatch = TOKENS_A_CALL
    params.n_threads = params.n_threads_batch = threads
    params.flash_attn_type, params.kv_unified = FLASH_ATTENTION, UNIFIED_CACHE
    engine = llama_cpp.llama_init_from_model(model, params)
    if engine is None:
        raise SystemExit(f'llama.cpp makes no context of {batch} sequences of {context} tokens')
    return model, engine


def make_call(sequences, positions, last):
    """What llama_decode takes: a token of each sequence at each position; logits at position `last`."""
    count = len(sequences) * len(positions)
    call = llama_cpp.llama_batch_init(count, 0, 1)
    call.n_tokens = count
    for i in range(count):
        sequence, position = sequences[i // len(positions)], positions[i % len(positions)]
        call.pos[i], call.n_seq_id[i], call.logits[i] = position, 1, position == last
        call.seq_id[i][0] = sequence
    return call


def view(pointer, *shape):
    return numpy.ctypeslib.as_array(pointer, shape)


def prompt_calls(prompts):
    """Each call that reads a part of the prompts, and the sequences it ends: whole prompts while they fit, else pieces of one."""
    batch, length = prompts.shape
    rows, columns = max(1, TOKENS_A_CALL // length), min(TOKENS_A_CALL, length)
    calls = []
    for row in range(0, batch, rows):
        for column in range(0, length, columns):
            part = prompts[row:row + rows, column:column + columns]
            sequences, positions = range(row, row + part.shape[0]), range(column, column + part.shape[1])
            call = make_call(sequences, positions, length - 1)
            view(call.token, part.size)[:] = part.flatten()
            calls.append((call, slice(sequences.start, sequences.stop if positions.stop == length else sequences.start)))
    return calls


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--model', required=True, help='.gguf file')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--batch', type=int, default=1, help='sequences')
    parser.add_argument('--prompt', type=int, default=64, help='prompt length in tokens')
    parser.add_argument('--new', type=int, default=128, help='new tokens a sequence')
    parser.add_argument('--repeats', type=int, default=3)
    arguments = parser.parse_args()
    batch, length = arguments.batch, arguments.prompt
    llama_cpp.llama_log_set(log_errors, None)
    llama_cpp.llama_backend_init()
    start = time.perf_counter()
    model, engine = load(arguments.model, batch, length + arguments.new + 8, arguments.threads)
    load_seconds = time.perf_counter() - start
    memory = llama_cpp.llama_get_memory(engine)
    vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    random = numpy.random.default_rng(1)
    prompts = random.integers(vocabulary, size=(batch, length))
    prompts[:, 0] = random.choice(vocabulary, batch, replace=False)  # nothing to share
    reading, step = prompt_calls(prompts), make_call(range(batch), [length], length)
    step_tokens, step_positions = view(step.token, batch), view(step.pos, batch)
    chosen = numpy.zeros(batch, numpy.int32)

    def decode(call, sequences):
        status = llama_cpp.llama_decode(engine, call)
        if status != 0:
            raise SystemExit(f'llama_decode: {status}')
        logits = llama_cpp.llama_get_logits(engine)  # waits for them
        count = sequences.stop - sequences.start
        if count > 0:  # below 1 % of the time of a step
            chosen[sequences] = view(logits, count, vocabulary).argmax(1)

    def generate(count):
        """Seconds until every sequence has its first token, and for the tokens after it."""
        llama_cpp.llama_memory_clear(memory, False)
        begin = time.perf_counter()
        for call, sequences in reading:
            decode(call, sequences)
        first = time.perf_counter()
        for position in range(length, length + count - 1):
            step_tokens[:], step_positions[:] = chosen, position
            decode(step, slice(0, batch))
        return first - begin, time.perf_counter() - first

    generate(2)
    prefill, decoding = zip(*(generate(arguments.new) for _ in range(arguments.repeats)))
    num_prompt, num_decoded = batch * length, batch * (arguments.new - 1)
    print(json.dumps(dict(
        peer='llama.cpp', version=f'llama-cpp-python {llama_cpp.__version__}, llama.cpp {library_version()}',
        model=Path(arguments.model).name, threads=arguments.threads, batch=batch, promptTokens=length, newTokens=arguments.new,
        decodeTokensPerSecondMedian=round(num_decoded / statistics.median(decoding), 1),
        decodeTokensPerSecondBest=round(num_decoded / min(decoding), 1),
        promptTokensPerSecondMedian=round(num_prompt / statistics.median(prefill), 1),
        promptTokensPerSecondBest=round(num_prompt / min(prefill), 1),
        loadSeconds=round(load_seconds, 3), peakRssBytes=peak_rss_bytes())))


if __name__ == '__main__':
    main()
