"""Conversations rendered by the chat templates of SmolLM2 and Qwen3 and by two short ones in the style of Llama 3.2 and
DeepSeek-R1-Distill, with the Jinja environment of `transformers`. Writes ../golden/tokenizer/chat.json:
{name: {template, bos, eos, cases: [[messages, add_generation_prompt, text or {"error": message}]]}}.

    python test/parity/generate/chat_templates.py
"""

import json
import pathlib
from datetime import datetime

from gguf import GGUFReader
from transformers.utils import chat_template_utils

HERE = pathlib.Path(__file__).resolve().parent
SHARED = HERE.parents[3] / "shared"
NOW = datetime(2024, 7, 6, 5, 4, 3)
DATED = """{{- bos_token }}
{%- if strftime_now is defined %}
    {%- set date_string = strftime_now("%d %b %Y") %}
{%- else %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: " + date_string + "\\n\\n" + system_message + "<|eot_id|>" }}
{%- for message in messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Conversation roles must alternate user/assistant') }}
    {%- endif %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
THINKING = (
    "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}"
    "{{bos_token}}{%- for message in messages %}{%- if message['role'] == 'user' %}{{'<|User|>' + message['content']}}"
    "{%- endif %}{%- if message['role'] == 'assistant' %}{% set content = message['content'] %}"
    "{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}"
    "{{'<|Assistant|>' + content + eos_token}}{%- endif %}{%- endfor %}"
    "{% if add_generation_prompt %}{{'<|Assistant|><think>\\n'}}{% endif %}"
)


def message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


USER = message("user", "What is 2 + 2?\nShow it.")
ANSWER = message("assistant", "It is 4.")
THOUGHT = message("assistant", "<think>\nTwo and two.\n</think>\n\nIt is 4.")
SYSTEM = message("system", " Be brief. ")
CONVERSATIONS = [
    [USER],
    [SYSTEM, USER],
    [USER, ANSWER],
    [SYSTEM, USER, ANSWER, message("user", "Sure? 😀"), message("assistant", "  Yes.\n")],
    [USER, THOUGHT],
    [USER, THOUGHT, message("user", "Why?"), THOUGHT],
    [USER, ANSWER, ANSWER],
]


def main() -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return NOW

    chat_template_utils.datetime = Clock
    reader = GGUFReader(SHARED / "models/SmolLM2-135M-Instruct.Q4_1.gguf")
    qwen3 = json.loads((SHARED / "data/tokenizers/qwen3/tokenizer_config.json").read_text(encoding="utf8"))
    templates = {
        "smollm2": (reader.fields["tokenizer.chat_template"].contents(), "<|im_start|>", "<|im_end|>"),
        "qwen3": (qwen3["chat_template"], None, "<|im_end|>"),
        "dated": (DATED, "<|begin_of_text|>", "<|eot_id|>"),
        "thinking": (THINKING, "<s>", "</s>"),
    }
    out = {}
    for name, (template, bos, eos) in templates.items():
        compiled = chat_template_utils._compile_jinja_template(template)
        tokens = {"eos_token": eos} | ({"bos_token": bos} if bos else {})
        cases = []
        for messages in CONVERSATIONS:
            for add in (False, True):
                try:
                    text = compiled.render(messages=messages, tools=None, documents=None, add_generation_prompt=add, **tokens)
                except Exception as error:  # the template's own refusal
                    text = {"error": str(error)}
                cases.append([messages, add, text])
        out[name] = {"template": template, "bos": bos, "eos": eos, "cases": cases}
    path = HERE.parent / "golden/tokenizer/chat.json"
    path.write_text(json.dumps(out, ensure_ascii=False, indent=1) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
