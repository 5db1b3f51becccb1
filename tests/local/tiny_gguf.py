"""A language model of a few hundred kilobytes that has learnt nothing: llama.cpp loads it as it does any other."""

from __future__ import annotations

import random
import struct
from pathlib import Path

PLAIN = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)
WITH_TOOLS = (
    "{% if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% for call in m.tool_calls or [] %}<tool_call>"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}</tool_call>{% endfor %}'
    "<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)

WIDTH, INNER, HEADS = 32, 64, 2
UINT32, FLOAT32, STRING, ARRAY, INT32 = 4, 6, 8, 9, 5


def write_model(path: Path, *, template: str = PLAIN, context: int = 512) -> Path:
    """Write a llama of one layer, whose vocabulary is the 256 bytes and the two marks of a message."""
    tokens = [_visible(byte) for byte in range(256)] + ["<|im_start|>", "<|im_end|>"]
    kinds = [1] * 256 + [3, 3]
    facts = [
        _fact("general.architecture", STRING, "llama"),
        _fact("llama.context_length", UINT32, context),
        _fact("llama.embedding_length", UINT32, WIDTH),
        _fact("llama.feed_forward_length", UINT32, INNER),
        _fact("llama.block_count", UINT32, 1),
        _fact("llama.attention.head_count", UINT32, HEADS),
        _fact("llama.attention.layer_norm_rms_epsilon", FLOAT32, 1e-5),
        _fact("tokenizer.ggml.model", STRING, "gpt2"),
        _fact("tokenizer.ggml.pre", STRING, "gpt-2"),
        _array("tokenizer.ggml.tokens", STRING, tokens),
        _array("tokenizer.ggml.token_type", INT32, kinds),
        _array("tokenizer.ggml.merges", STRING, ["e r"]),
        _fact("tokenizer.ggml.bos_token_id", UINT32, 256),
        _fact("tokenizer.ggml.eos_token_id", UINT32, 257),
        _fact("tokenizer.chat_template", STRING, template),
    ]
    shapes = {
        "token_embd.weight": (WIDTH, len(tokens)),
        "output_norm.weight": (WIDTH,),
        "blk.0.attn_norm.weight": (WIDTH,),
        **{f"blk.0.attn_{part}.weight": (WIDTH, WIDTH) for part in ("q", "k", "v", "output")},
        "blk.0.ffn_norm.weight": (WIDTH,),
        "blk.0.ffn_gate.weight": (WIDTH, INNER),
        "blk.0.ffn_up.weight": (WIDTH, INNER),
        "blk.0.ffn_down.weight": (INNER, WIDTH),
    }
    chance = random.Random(1)
    table, data = [], b""
    for name, shape in shapes.items():
        size = shape[0] * (shape[1] if len(shape) > 1 else 1)
        table.append(_text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, len(data)))
        data += struct.pack(f"<{size}f", *(chance.uniform(-0.5, 0.5) for _ in range(size)))
    head = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), len(facts)) + b"".join(facts) + b"".join(table)
    path.write_bytes(head + bytes(-len(head) % 32) + data)
    return path


def _visible(byte: int) -> str:
    """The letter that stands for a byte in a GPT-2 vocabulary."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [other for other in range(256) if other not in shown]
    return chr(byte if byte in shown else 256 + hidden.index(byte))


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _value(kind: int, value: object) -> bytes:
    return _text(str(value)) if kind == STRING else struct.pack({UINT32: "<I", FLOAT32: "<f", INT32: "<i"}[kind], value)


def _fact(key: str, kind: int, value: object) -> bytes:
    return _text(key) + struct.pack("<I", kind) + _value(kind, value)


def _array(key: str, kind: int, values: list[object]) -> bytes:
    head = _text(key) + struct.pack("<IIQ", ARRAY, kind, len(values))
    return head + b"".join(_value(kind, value) for value in values)
