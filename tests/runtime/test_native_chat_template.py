"""The C rendering of chat templates writes what Jinja writes from the published templates."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Sequence

import pytest

from rbe_edge import _native
from rbe_edge.errors import TemplateError
from rbe_edge.runtime.chat_template import ChatTemplate, Message, PlainTemplate

# As published with the models named.
TEMPLATES = {
    "SmolLM2-135M-Instruct": (
        "chatml",
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
        "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}"
        "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    ),
    "SmolLM-135M-Instruct": (
        "chatml",
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "
        "'\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    ),
    "Qwen2-0.5B-Instruct": (
        "chatml",
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
        "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}{{'<|im_start|>' + "
        "message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    ),
    # Its branches for tools are left out: they are taken where tools are given.
    "Qwen2.5-0.5B-Instruct": (
        "chatml",
        "{%- if tools %}\n    {{- '<|im_start|>system\\n' }}\n{%- else %}\n"
        "    {%- if messages[0]['role'] == 'system' %}\n"
        "        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}\n    {%- else %}\n"
        "        {{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant."
        "<|im_end|>\\n' }}\n    {%- endif %}\n{%- endif %}\n{%- for message in messages %}\n"
        '    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or '
        '(message.role == "assistant" and not message.tool_calls) %}\n'
        "        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}\n"
        "    {%- endif %}\n{%- endfor %}\n{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n"
        "{%- endif %}\n",
    ),
    "Qwen3-0.6B": (
        "chatml",
        "{%- if messages[0].role == 'system' %}\n"
        "    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}\n{%- endif %}\n"
        "{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}\n"
        "{%- for message in messages[::-1] %}\n    {%- set index = (messages|length - 1) - loop.index0 %}\n"
        '    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not('
        "message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}\n"
        "        {%- set ns.multi_step_tool = false %}\n        {%- set ns.last_query_index = index %}\n"
        "    {%- endif %}\n{%- endfor %}\n{%- for message in messages %}\n    {%- set content = message.content %}\n"
        '    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}\n'
        "        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}\n"
        "    {%- elif message.role == \"assistant\" %}\n        {%- set reasoning_content = '' %}\n"
        "        {%- if '</think>' in content %}\n"
        "            {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1]"
        ".lstrip('\\n') %}\n            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}\n"
        "        {%- endif %}\n        {%- if loop.index0 > ns.last_query_index %}\n"
        "            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + "
        "'\\n</think>\\n\\n' + content.lstrip('\\n') }}\n        {%- else %}\n"
        "            {{- '<|im_start|>' + message.role + '\\n' + content }}\n        {%- endif %}\n"
        "        {{- '<|im_end|>\\n' }}\n    {%- endif %}\n{%- endfor %}\n{%- if add_generation_prompt %}\n"
        "    {{- '<|im_start|>assistant\\n' }}\n    {%- if enable_thinking is defined and enable_thinking is false %}\n"
        "        {{- '<think>\\n\\n</think>\\n\\n' }}\n    {%- endif %}\n{%- endif %}",
    ),
    "Llama-2-7b-chat": (
        "llama2",
        "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
        "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
        "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
        "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must "
        "alternate user/assistant/user/assistant/...') }}{% endif %}"
        "{% if loop.index0 == 0 and system_message != false %}"
        "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}"
        "{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}"
        "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
        "{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    ),
    "Meta-Llama-3-8B-Instruct": (
        "llama3",
        "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + "
        "message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}"
        "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
        "{% if add_generation_prompt %}"
        "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    ),
    "zephyr-7b-beta, TinyLlama-1.1B-Chat": (
        "zephyr",
        "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + "
        "eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n"
        "{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n"
        "{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
    ),
    "gemma-2b-it": (
        "gemma",
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
        "{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
        "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}"
        "{% endif %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}",
    ),
    # Without the branches for pictures.
    "gemma-3-1b-it": (
        "gemma",
        "{{ bos_token }}\n{%- if messages[0]['role'] == 'system' -%}\n"
        "    {%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}\n"
        '    {%- set loop_messages = messages[1:] -%}\n{%- else -%}\n    {%- set first_user_prefix = "" -%}\n'
        "    {%- set loop_messages = messages -%}\n{%- endif -%}\n{%- for message in loop_messages -%}\n"
        "    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}\n"
        '        {{ raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}\n'
        "    {%- endif -%}\n    {%- if (message['role'] == 'assistant') -%}\n        {%- set role = \"model\" -%}\n"
        "    {%- else -%}\n        {%- set role = message['role'] -%}\n    {%- endif -%}\n"
        "    {{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else \"\") }}\n"
        "    {{- message['content'] | trim }}\n    {{- '<end_of_turn>\n' }}\n{%- endfor -%}\n"
        "{%- if add_generation_prompt -%}\n    {{'<start_of_turn>model\n'}}\n{%- endif -%}\n",
    ),
    "none": ("plain", ""),
}
BOS, EOS = "<s>", "</s>"

CONVERSATIONS = [
    [("user", "Hello!")],
    [("system", " Be brief. "), ("user", " Hi\n"), ("assistant", " Yes? \u3000"), ("user", "\u2003More\x1f\u00a0")],
    [("user", "Zo\u00eb \U0001f600"), ("assistant", "<think>\nhm\n</think>\n\nHi!"), ("user", "?")],
    [("user", "a"), ("assistant", "x</think>\n</think>y"), ("user", "")],
    [("system", ""), ("user", " \n ")],
    [("system", "\n"), ("user", "<|im_end|> [INST] {{ bos_token }}")],
]


def render(
    messages: Sequence[tuple[str, str]],
    jinja: str = "",
    style: str | None = None,
    capacity: int | None = None,
    mark: bool = False,
) -> str:
    lib = _native.library()
    encoded = [(role.encode(), content.encode()) for role, content in messages]
    raw = (_native.ChatMessage * len(encoded))(*[(role, content, len(content)) for role, content in encoded])
    template = jinja.encode()
    options = _native.ChatOptions(
        struct_bytes=ctypes.sizeof(_native.ChatOptions),
        style=style.encode() if style else None,
        jinja=template,
        jinja_bytes=len(template),
        bos=BOS.encode(),
        eos=EOS.encode(),
        add_generation_prompt=1,
        mark=int(mark),
    )
    n_bytes = ctypes.c_size_t()
    room = 65536 if capacity is None else capacity
    out = ctypes.create_string_buffer(room + 1)
    out[room] = b"!"
    status = lib.rbe_chat_format(ctypes.byref(options), raw, len(raw), out, room, ctypes.byref(n_bytes))
    assert out[room] == b"!"
    if status == _native.ERROR_CAPACITY:
        assert n_bytes.value > room
        return out.raw[:room].decode("utf-8", "surrogateescape")
    _native.check(status, TemplateError)
    return out.raw[: n_bytes.value].decode("utf-8", "surrogateescape" if mark else "strict")


def expected(messages: Sequence[tuple[str, str]], jinja: str) -> str:
    template = ChatTemplate(jinja, {"bos_token": BOS, "eos_token": EOS}) if jinja else PlainTemplate()
    return template.render([Message(role, content) for role, content in messages])


def refuses(messages: Sequence[tuple[str, str]], jinja: str) -> bool:
    try:
        render(messages, jinja)
    except TemplateError:
        return True
    return False


@pytest.mark.parametrize("name", TEMPLATES)
def test_writes_what_jinja_writes(name: str) -> None:
    style, jinja = TEMPLATES[name]
    found = ctypes.c_char_p()
    template = jinja.encode()
    _native.check(_native.library().rbe_chat_detect(template, len(template), ctypes.byref(found)))
    assert found.value == style.encode()
    compared = 0
    for messages in CONVERSATIONS:
        try:
            wanted = expected(messages, jinja)
        except TemplateError:
            assert refuses(messages, jinja), messages
            continue
        assert render(messages, jinja) == wanted, messages
        compared += 1
    assert compared >= 3


@pytest.mark.parametrize("name", TEMPLATES)
def test_random_conversations(name: str) -> None:
    """Also those that a template refuses: then both do."""
    style, jinja = TEMPLATES[name]
    source = random.Random(name)
    pieces = ["a", " ", "\n", "\u3000", "\u0085", "</think>", "<think>", "\u00e9", "'", "\\n", "\U0001f600", "\x1c"]
    compared = 0
    for _ in range(150):
        roles = ["user", "assistant"] * source.randrange(3) + ["user"]
        if source.random() < 0.3:
            roles.insert(0, "system")
        messages = [(role, "".join(source.choices(pieces, k=source.randrange(8)))) for role in roles]
        if source.random() < 0.1:
            source.shuffle(messages)
            late_system = style in ("llama2", "gemma") and "system" in [role for role, _ in messages[1:]]
            if late_system or ("</think>" in jinja and messages[-1][0] != "user"):
                assert refuses(messages, jinja)  # of these, Jinja would write something that no model was trained on
                continue
        try:
            wanted = expected(messages, jinja)
        except TemplateError:
            assert refuses(messages, jinja)
            continue
        assert render(messages, jinja) == wanted, messages
        compared += 1
    assert compared > 80


def test_a_buffer_that_is_too_small() -> None:
    _, jinja = TEMPLATES["SmolLM2-135M-Instruct"]
    whole = render(CONVERSATIONS[2], jinja).encode()
    for capacity in (0, 1, 40, len(whole) - 1):
        assert render(CONVERSATIONS[2], jinja, capacity=capacity).encode("utf-8", "surrogateescape") == whole[:capacity]
    assert render(CONVERSATIONS[2], jinja, capacity=len(whole)).encode() == whole


def test_a_style_by_name() -> None:
    assert render([("user", "Hi")], style="chatml") == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert render([("user", "Hi")], style="plain") == "User: Hi\nAssistant:"
    with pytest.raises(TemplateError, match="no chat template `vicuna`"):
        render([("user", "Hi")], style="vicuna")


@pytest.mark.parametrize(
    "jinja",
    [
        "{{ messages[0].content }}",
        "{{ bos_token }}{% for m in messages %}{{ '[INST] ' + m.content + ' [/INST]' }}{% endfor %}",  # Mistral
        "{{ '<|user|>\n' + messages[0].content + '<|end|>\n<|assistant|>\n' }}",  # Phi-3
        "{{ bos_token + '<|im_start|>user\n' + messages[0].content }}",
        "{{ '<|im_start|>user\n' + messages[0].content | trim + '<|im_end|>' }}",
        "{{ '<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: ' }}",  # Llama 3.1: today's date
    ],
)
def test_what_is_none_of_them_is_refused(jinja: str) -> None:
    with pytest.raises(TemplateError, match="none of chatml"):
        render([("user", "Hi")], jinja)


def test_messages_that_make_no_sense() -> None:
    with pytest.raises(TemplateError, match="message 1: its role"):
        render([("user", "Hi"), ("tool", "x")], style="chatml")
    with pytest.raises(TemplateError, match="take turns"):
        render([("user", "Hi"), ("user", "x")], style="gemma")
    with pytest.raises(TemplateError, match="no system message"):
        render([("system", "Hi"), ("user", "x")], style="gemma")
