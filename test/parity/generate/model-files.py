"""Golden model files: small GGUF and safetensors files, with the values that the reference libraries read from them.

Needs torch, transformers, safetensors, gguf and numpy:  python test/parity/generate/model-files.py
Writes test/parity/golden/files/.
"""

import json
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as Q
from safetensors.torch import save_file

OUT = Path(__file__).resolve().parents[1] / "golden" / "files"
OUT.mkdir(parents=True, exist_ok=True)
RANDOM = np.random.default_rng(7)


def random_blocks(qtype, num_rows, row_size):
    """Random bits, scales made finite and of ordinary size (their float16 exponent is kept between 2^-8 and 2^0)."""
    block_size, block_bytes = GGML_QUANT_SIZES[qtype]
    blocks = RANDOM.integers(0, 256, (num_rows * row_size // block_size, block_bytes), dtype=np.uint8)
    num_scales = {Q.Q4_0: 1, Q.Q5_0: 1, Q.Q8_0: 1, Q.Q6_K: 1}.get(qtype, 2)
    scales = RANDOM.uniform(-1, 1, (len(blocks), num_scales)).astype(np.float16)
    place = block_bytes - 2 if qtype == Q.Q6_K else 0
    blocks[:, place : place + 2 * num_scales] = scales.view(np.uint8).reshape(len(blocks), -1)
    return blocks.reshape(num_rows, -1)


def quantised():
    writer = gguf.GGUFWriter(OUT / "quantised.gguf", "llama")
    writer.add_string("test.text", "naïve ☃ text")
    writer.add_array("test.words", ["a", "", "ünï"])
    writer.add_array("test.numbers", [1.5, -2.25])
    writer.add_bool("test.flag", True)
    writer.add_uint64("test.large", 2**63 + 1)
    writer.add_int32("test.negative", -7)
    expected = {}
    for qtype in (Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1, Q.Q8_0, Q.Q4_K, Q.Q5_K, Q.Q6_K):
        row_size = GGML_QUANT_SIZES[qtype][0] * (3 if GGML_QUANT_SIZES[qtype][0] == 32 else 2)
        data = random_blocks(qtype, 5, row_size)
        writer.add_tensor(f"tensor.{qtype.name}", data, raw_dtype=qtype)
        expected[f"tensor.{qtype.name}"] = gguf.dequantize(data, qtype)
    halves = np.array([0, -0.0, 1, -2.5, 6e-8, 6.1e-5, 65504, np.inf, -np.inf, np.nan], dtype=np.float16).reshape(2, 5)
    writer.add_tensor("tensor.F16", halves)
    expected["tensor.F16"] = halves.astype(np.float32)
    floats = RANDOM.standard_normal((3, 7)).astype(np.float32)
    writer.add_tensor("tensor.F32", floats)
    expected["tensor.F32"] = floats
    brain = gguf.quantize(floats, Q.BF16)
    writer.add_tensor("tensor.BF16", brain, raw_dtype=Q.BF16)
    expected["tensor.BF16"] = gguf.dequantize(brain, Q.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    index, parts, offset = {}, [], 0
    for name, values in expected.items():
        flat = np.ascontiguousarray(values, dtype="<f4").reshape(-1)
        index[name] = {"offset": offset, "shape": list(values.shape)}
        parts.append(flat.tobytes())
        offset += flat.size
    (OUT / "quantised.expected.bin").write_bytes(b"".join(parts))
    (OUT / "quantised.expected.json").write_text(json.dumps(index) + "\n")


def halves():
    """Every kind of 16-bit float; the expected float32 bits beside them."""
    bits = [0, 0x8000, 1, 0x8001, 0x03FF, 0x0400, 0x3C00, 0x3C01, 0xBC00, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00, 0x0080, 0x7F80, 0xFF80, 0x7FC0, 0x0001, 0x3F80]
    raw = torch.tensor(bits, dtype=torch.int32).to(torch.int16)
    tensors = {"half": raw.view(torch.float16).reshape(4, 5), "brain": raw.view(torch.bfloat16).clone()}
    tensors["single"] = torch.tensor([0.0, -0.0, 1e-45, float("inf"), float("nan"), 3.5])
    tensors["integers"] = torch.arange(3)
    save_file(tensors, OUT / "halves.safetensors", metadata={"format": "pt", "note": "ünï"})
    # What torch narrows these to (round to nearest, ties to even): bits of float16 and bfloat16.
    values = torch.tensor([0.0, -0.0, 1.0, 1 + 2**-11, 1 + 3 * 2**-11, 1 + 2**-8, 1 + 3 * 2**-8, 65504.0, 65519.9, 65520.0, 1e9, -1e9, 2**-24, 2**-25, 2**-25 * 1.01, 3 * 2**-25, 2**-14, 2**-14 * (1 - 2**-11), 1e-45, -1e-40, 3.4e38, 3.3961775e38, float("inf"), float("-inf"), 0.1, -0.3])
    expected = {key: (getattr(tensors[key], "float")().reshape(-1).view(torch.int32).tolist()) for key in ("half", "brain", "single")}
    narrowed = {
        "values": values.view(torch.int32).tolist(),
        "half": [x & 0xFFFF for x in values.half().view(torch.int16).tolist()],
        "brain": [x & 0xFFFF for x in values.bfloat16().view(torch.int16).tolist()],
    }
    (OUT / "halves.expected.json").write_text(json.dumps({"bits": expected, "narrowed": narrowed}) + "\n")


def configurations():
    """config.json as transformers saves it, and the names and shapes of the parameters of the model it makes."""
    sizes = dict(vocab_size=50, hidden_size=12, intermediate_size=20, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=1)
    llama3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64, rope_theta=500000.0)
    cases = {
        "llama": transformers.LlamaConfig(**sizes),
        "llama, tied, biases, head size": transformers.LlamaConfig(**sizes, tie_word_embeddings=True, attention_bias=True, mlp_bias=True, head_dim=6),
        "llama 3.1": transformers.LlamaConfig(**sizes, rope_parameters=llama3, max_position_embeddings=512),
        "llama, linear": transformers.LlamaConfig(**sizes, rope_parameters=dict(rope_type="linear", factor=2.0, rope_theta=1e4)),
        "qwen2": transformers.Qwen2Config(**sizes, tie_word_embeddings=True, rope_parameters=dict(rope_type="default", rope_theta=1e6)),
        "qwen3": transformers.Qwen3Config(**sizes),
        "qwen3, biases, head size": transformers.Qwen3Config(**sizes, head_dim=8, attention_bias=True),
        "mistral": transformers.MistralConfig(**sizes, sliding_window=None),
    }
    golden = {}
    for name, config in cases.items():
        model = transformers.AutoModelForCausalLM.from_config(config)
        tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
        parameters = [[key, list(value.shape)] for key, value in model.state_dict().items() if key not in tied]
        golden[name] = {
            "config": json.loads(config.to_json_string(use_diff=True)),
            "parameters": parameters,
            "count": sum(p.numel() for p in model.parameters()),
        }
    (OUT / "configurations.json").write_text(json.dumps(golden, indent=1) + "\n")


def tiny_llama():
    """One tiny Llama as a Hugging Face checkpoint and as llama.cpp's converter would write it (q and k rows permuted)."""
    torch.manual_seed(3)
    config = transformers.LlamaConfig(vocab_size=11, hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=True, max_position_embeddings=32)
    state = {k: v for k, v in transformers.LlamaForCausalLM(config).state_dict().items() if k != "lm_head.weight"}
    save_file(state, OUT / "tiny-llama.safetensors", metadata={"format": "pt"})
    writer = gguf.GGUFWriter(OUT / "tiny-llama.gguf", "llama")
    writer.add_block_count(2)
    writer.add_context_length(32)
    writer.add_embedding_length(8)
    writer.add_feed_forward_length(12)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(4)
    writer.add_eos_token_id(2)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2)
    for key, value in state.items():
        data = value.numpy()
        num_heads = {"q_proj": 2, "k_proj": 1}.get(key.split(".")[-2])
        if num_heads:  # LlamaModel.permute of convert_hf_to_gguf.py
            data = data.reshape(num_heads, 2, data.shape[0] // num_heads // 2, *data.shape[1:]).swapaxes(1, 2).reshape(data.shape)
        writer.add_tensor(names.get_name(key, try_suffixes=(".weight",)), np.ascontiguousarray(data))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


quantised()
halves()
configurations()
tiny_llama()
