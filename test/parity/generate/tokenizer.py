"""Small tokenizers of every supported kind with ids and texts by the Rust library `tokenizers` (0.22 or newer).

Writes ../golden/tokenizer/small.json: {name: {tokenizer: <tokenizer.json>, cases: [[text, ids, decoded, decoded without
special tokens]], noise: [[ids, decoded]]}}. Trained on a few kilobytes of text; run from anywhere:

    python test/parity/generate/tokenizer.py
"""

import json
import pathlib
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).resolve().parent
CORPUS = HERE.parents[3] / "shared/data/corpus/tinystories_sample.jsonl"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
HARD = [
    "I'm we'LL don't IT'S  'tis",
    "a   b\n\n\n c\t\t d \r\n e  ",
    "1234567 3.14 ٣٤٥ ² Ⅷ x1y22",
    "👩‍👩‍👧‍👦 👍🏽 🇫🇷",
    "漢字かな交じり文 한국어",
    "مرحبا بالعالم",
    "e\u0301 é ﬁ Å",
    "<s> hi</s> there <think>\n\n</think><mask>",
    "x <mask> y  <mask>z",
    "!\u0085!\ufeff!\u00a0c\u2028d\u200b\u200d",
    "a\x00b\x1f",
    "ſ 'ſ K ǅ",
    " ",
    "  ",
    "   lead",
    "\n",
    " \n",
    "▁ under▁score ▁▁",
    "<0x41> <0xE2>",
    "ABC Straße İstanbul",
    "$& $1 \\ ^ ` ~ | + = < >",
    "snake_case_name __init__ 9_000",
    "One day, a boy named Ben saw a red car. He was happy! He said, \"Look, mom!\"",
]


def texts(seed: int) -> list[str]:
    rng = random.Random(seed)
    pool = [" ", " ", "\n", "a", "he", "the ", "Tom's", "é", "e\u0301", "漢", "😀", "\u200d", "1", "42", "٣", ".", "'", "▁", "\t"]
    pool += ["<s>", "</s>", "<think>", "<mask>", "ß", "\u00a0", "and", "ing", "_", "²"]
    return HARD + ["".join(rng.choices(pool, k=rng.randint(1, 30))) for _ in range(40)]


def rows() -> list[str]:
    with CORPUS.open(encoding="utf8") as file:
        return [json.loads(line)["text"] for line in file][:40]


def specials() -> list[AddedToken]:
    plain = [AddedToken(t, special=True, normalized=False) for t in ("<unk>", "<s>", "</s>")]
    return [*plain, AddedToken("<mask>", special=True, normalized=False, lstrip=True)]


def finish(t: Tokenizer, bos: bool) -> Tokenizer:
    t.add_special_tokens(specials())
    t.add_tokens([AddedToken("<think>", special=False, normalized=False)])
    if bos:
        id = t.token_to_id("<s>")
        t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", id)])
    return t


def bpe(normalizer, pre_tokenizer, decoder, *, alphabet=(), byte_fallback=False, bos=False, ignore_merges=False) -> Tokenizer:
    t = Tokenizer(models.BPE(byte_fallback=byte_fallback, unk_token="<unk>" if byte_fallback else None, fuse_unk=byte_fallback))
    if normalizer:
        t.normalizer = normalizer
    if pre_tokenizer:
        t.pre_tokenizer = pre_tokenizer
    t.decoder = decoder
    bytes_ = [f"<0x{b:02X}>" for b in range(256)] if byte_fallback else []
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["<unk>", "<s>", "</s>", *bytes_],
        initial_alphabet=list(alphabet),
        show_progress=False,
        max_token_length=12,
    )
    t.train_from_iterator(rows(), trainer)
    data = json.loads(t.to_str())
    # The byte tokens are rows of the vocabulary, not tokens looked for in the text.
    data["added_tokens"] = []
    data["model"]["ignore_merges"] = ignore_merges
    return finish(Tokenizer.from_str(json.dumps(data)), bos)


def words() -> Tokenizer:
    t = Tokenizer(models.WordLevel(unk_token="<unk>"))
    t.pre_tokenizer = pre_tokenizers.Whitespace()
    t.train_from_iterator(rows(), trainers.WordLevelTrainer(vocab_size=200, special_tokens=["<unk>", "<s>", "</s>"]))
    return finish(t, True)


def main() -> None:
    byte_alphabet = pre_tokenizers.ByteLevel.alphabet()
    mark = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    llama_decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    byte_level = decoders.ByteLevel()
    spell = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    all_kinds = {
        "llama-legacy": bpe(mark, None, llama_decoder, byte_fallback=True, bos=True),
        "metaspace-first": bpe(
            None,
            pre_tokenizers.Metaspace(prepend_scheme="first", split=False),
            llama_decoder,
            byte_fallback=True,
            bos=True,
        ),
        "metaspace-split": bpe(
            None, pre_tokenizers.Metaspace(prepend_scheme="always", split=True), decoders.Metaspace(), byte_fallback=True
        ),
        "smollm": bpe(
            None,
            pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]),
            byte_level,
            alphabet=byte_alphabet,
        ),
        "llama3": bpe(
            None,
            pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"), spell]),
            byte_level,
            alphabet=byte_alphabet,
            bos=True,
            ignore_merges=True,
        ),
        "prefix-space": bpe(
            normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("$", "$&"), normalizers.Lowercase()]),
            pre_tokenizers.Sequence([pre_tokenizers.Punctuation(), pre_tokenizers.ByteLevel(True)]),
            byte_level,
            alphabet=byte_alphabet,
        ),
        "words": words(),
    }
    out = {}
    for name, t in all_kinds.items():
        cases = []
        for text in texts(1):
            ids = t.encode(text).ids
            cases.append([text, ids, t.decode(ids, skip_special_tokens=False), t.decode(ids, skip_special_tokens=True)])
        rng = random.Random(2)
        noise = [rng.choices(range(t.get_vocab_size()), k=rng.randint(1, 12)) for _ in range(60)]
        out[name] = {
            "tokenizer": json.loads(t.to_str()),
            "cases": cases,
            "noise": [[ids, t.decode(ids, skip_special_tokens=False)] for ids in noise],
        }
    path = HERE.parent / "golden/tokenizer/small.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(out, ensure_ascii=False, separators=(",", ":")).replace('},"noise"', '},\n"noise"') + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
