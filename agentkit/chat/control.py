"""Control tokens of chat templates, broken in what tools give: text from outside must not end a turn or open one.

A model served with a template reads the whole conversation as one text, in which such tokens mark whose turn it is.
Many servers take them for control tokens wherever they stand, also inside the result of a tool.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

FULLWIDTH_BAR: Final = "\uff5c"
JOINER: Final = "\u2060"
"""WORD JOINER, which is not seen: put after a token's first character, it leaves the text legible and no token."""

CONTROL_TOKENS: Final[Mapping[str, str]] = {
    "ChatML (Qwen, Yi, InternLM, Phi-4)": "<|im_start|> <|im_end|> <|im_sep|> <|endoftext|>",
    "Qwen, Hermes": "<tool_call> </tool_call> <tool_response> </tool_response> <think> </think>",
    "Llama 3": (
        "<|begin_of_text|> <|end_of_text|> <|start_header_id|> <|end_header_id|> <|eot_id|> <|eom_id|> <|python_tag|>"
    ),
    "Llama 4": "<|header_start|> <|header_end|> <|eot|> <|eom|>",
    "Llama 2, Mistral": "<s> </s> <unk> [INST] [/INST] <<SYS>> <</SYS>>",
    "Mistral": (
        "[SYSTEM_PROMPT] [/SYSTEM_PROMPT] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_CALLS] [TOOL_RESULTS] "
        "[/TOOL_RESULTS] [TOOL_CONTENT] [CALL_ID] [ARGS] [THINK] [/THINK] [IMG] [IMG_BREAK] [IMG_END] [AUDIO] "
        "[BEGIN_AUDIO] [PREFIX] [MIDDLE] [SUFFIX]"
    ),
    "Gemma": "<bos> <eos> <pad> <start_of_turn> <end_of_turn> <start_of_image> <end_of_image>",
    "FunctionGemma": (
        "<start_function_declaration> <end_function_declaration> <start_function_call> <end_function_call> "
        "<start_function_response> <end_function_response> <escape>"
    ),
    "Gemma 4": (
        "<|turn> <turn|> <|channel> <channel|> <|tool> <tool|> <|tool_call> <tool_call|> <|tool_response> "
        '<tool_response|> <|think|> <|"|>'
    ),
    "DeepSeek": (
        "<|begin▁of▁sentence|> <|end▁of▁sentence|> <|User|> <|Assistant|> <|tool▁calls▁begin|> "
        "<|tool▁calls▁end|> <|tool▁call▁begin|> <|tool▁call▁end|> <|tool▁sep|> <|tool▁outputs▁begin|> "
        "<|tool▁outputs▁end|> <|tool▁output▁begin|> <|tool▁output▁end|> <|DSML| </|DSML|"
    ).replace("|", FULLWIDTH_BAR),
    "gpt-oss (harmony)": "<|start|> <|end|> <|message|> <|channel|> <|constrain|> <|return|> <|call|>",
    "Phi, Zephyr, GLM": "<|system|> <|user|> <|assistant|> <|end|> <|observation|>",
    "GLM": "[gMASK] <sop> <eop> <arg_key> </arg_key> <arg_value> </arg_value>",
    "Kimi": (
        "[BOS] [EOS] [EOT] <|im_system|> <|im_user|> <|im_assistant|> <|im_middle|> <|tool_calls_section_begin|> "
        "<|tool_calls_section_end|> <|tool_call_begin|> <|tool_call_argument_begin|> <|tool_call_end|> <|open|> "
        "<|close|> <|sep|> <|end_of_msg|>"
    ),
    "MiniMax": "]~!b[ ]~b] [e~[ <minimax:tool_call> </minimax:tool_call>",
    "Command": (
        "<BOS_TOKEN> <|START_OF_TURN_TOKEN|> <|END_OF_TURN_TOKEN|> <|SYSTEM_TOKEN|> <|USER_TOKEN|> <|CHATBOT_TOKEN|> "
        "<|START_ACTION|> <|END_ACTION|> <|START_TOOL_RESULT|> <|END_TOOL_RESULT|>"
    ),
    "Granite": "<|start_of_role|> <|end_of_role|> <|end_of_text|>",
    "Seed": (
        "<seed:bos> <seed:eos> <seed:pad> <seed:think> </seed:think> <seed:tool_call> </seed:tool_call> "
        "<seed:cot_budget_reflect> </seed:cot_budget_reflect>"
    ),
    "Nemotron": (
        "<SPECIAL_10> <SPECIAL_11> <SPECIAL_12> <extra_id_0> <extra_id_1> <TOOLCALL> </TOOLCALL> <TOOL_RESPONSE> "
        "</TOOL_RESPONSE> <AVAILABLE_TOOLS> </AVAILABLE_TOOLS>"
    ),
}
"""The tokens by whose template they are of, each list parted by spaces. Source: the models' published templates."""

SHAPES: Final = (
    rf"<\|[^\s|<>{JOINER}]{{1,64}}\|?>",
    rf"<[^\s|<>/{JOINER}]{{1,64}}\|>",
    rf"</?{FULLWIDTH_BAR}[^\s{FULLWIDTH_BAR}<>{JOINER}]{{1,64}}{FULLWIDTH_BAR}",
)
"""How most of them look: also of templates that are not listed."""


def unsteering(text: str) -> str:
    """The text of a result as it is sent: each control token in it broken, all else as it is."""
    if not any(start in text for start in _starts()):
        return text
    return _token().sub(_broken, text)


def unsteering_part(part: Mapping[str, Any]) -> dict[str, Any]:
    """A content part of a result as it is sent: its text so too."""
    text = part.get("text")
    return {**part, "text": unsteering(text)} if isinstance(text, str) else dict(part)


def _broken(found: re.Match[str]) -> str:
    return found[0] + JOINER


@cache
def _rests() -> dict[str, list[str]]:
    """What may follow a token's first character, as regular expressions."""
    rests: dict[str, list[str]] = {}
    for token in dict.fromkeys(" ".join(CONTROL_TOKENS.values()).split()):
        if not any(re.match(shape, token) for shape in SHAPES):
            rests.setdefault(token[0], []).append(re.escape(token[1:]))
    for shape in SHAPES:
        rests.setdefault(shape[0], []).append(shape[1:])
    return rests


@cache
def _starts() -> tuple[str, ...]:
    return tuple(_rests())


@cache
def _token() -> re.Pattern[str]:
    # Only the first character is consumed, so that a token which begins inside another one is found too.
    return re.compile("|".join([f"{re.escape(start)}(?={'|'.join(rests)})" for start, rests in _rests().items()]))
