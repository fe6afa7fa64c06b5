"""Verdicts of Math-Verify (pip install math-verify) on pairs of answers: python answers.py SHARED_DATA OUTPUT.

Both answers are wrapped in \\boxed{} and parsed with the default settings. The pairs: answer-pairs.txt, written by hand; every
distinct answer of MATH-500 and a part of the MATH test split against five variants of itself, of which some are wrong; the
predictions of qwen_cot_100x8 against their truth.
"""
import json
import logging
import random
import re
import sys
from pathlib import Path

from math_verify import parse, verify

logging.disable(logging.CRITICAL)
data, output = Path(sys.argv[1]), Path(sys.argv[2])


def rows(name):
    return [json.loads(line) for line in (data / "math" / name).read_text().splitlines()]


def verdict(expected, actual):
    boxed = [parse("\\boxed{%s}" % text, parsing_timeout=3) for text in (expected, actual)]
    return verify(*boxed, timeout_seconds=3)


def increment_first(text):
    return re.sub(r"\d+", lambda match: str(int(match[0]) + 1), text, count=1)


def variants(answer, others, chooser):
    yield answer
    yield answer.replace("\\frac", "\\dfrac").replace(" ", "").replace("\\sqrt", " \\sqrt") if "text" not in answer else answer
    yield answer.replace("(", "\\left(").replace(")", "\\right)") if "\\left" not in answer else answer.replace("\\left", "").replace("\\right", "")
    yield increment_first(answer)
    yield chooser.choice(others)


def main():
    chooser = random.Random(0)
    pairs = {}
    for line in Path(__file__).with_name("answer-pairs.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            expected, actual = (part.strip() for part in line.split("|||"))
            pairs[expected, actual] = "hand"
    answers = sorted({row["answer"] for row in rows("math500.jsonl")})
    part = sorted({row["answer"] for row in rows("test_part.jsonl") if not re.fullmatch(r"-?\d+", row["answer"])} - set(answers))
    for source, listed in (("math500", answers), ("test_part", chooser.sample(part, min(500, len(part))))):
        for answer in listed:
            for actual in variants(answer, listed, chooser):
                pairs.setdefault((answer, actual), source)
    for row in rows("qwen_cot_100x8.jsonl"):
        for prediction in row["pred"]:
            pairs.setdefault((row["answer"], prediction), "qwen")
    with output.open("w") as file:
        for (expected, actual), source in pairs.items():
            file.write(json.dumps({"source": source, "expected": expected, "actual": actual, "equal": verdict(expected, actual)}, ensure_ascii=False) + "\n")


main()
