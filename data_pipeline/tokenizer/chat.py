"""Special tokens and the chat template (ChatML).

| token            | role                          | in Hugging Face terms |
|------------------|-------------------------------|-----------------------|
| `<|endoftext|>`  | ends every pretraining text   | bos_token             |
| `<|im_start|>`   | opens a chat turn             |                       |
| `<|im_end|>`     | ends a chat turn              | eos_token             |
| `<|pad|>`        | padding                       | pad_token             |

One tokenizer serves the base and the chat model. eos_token is the end of a turn, since that is where TRL, reward models
and generation stop; a base model stops at `<|endoftext|>`, so its generation config lists both ids. bos_token is the
document end because in the packed pretraining stream it is what stands before each document: evaluation uses it as the
context of a text's first token. Nothing is ever added on encoding; the template writes what it needs.
Padding has a token of its own: with pad == eos, trainers mask the end of turn and models never learn to stop.
"""

END_OF_TEXT = "<|endoftext|>"
START_OF_TURN = "<|im_start|>"
END_OF_TURN = "<|im_end|>"
PADDING = "<|pad|>"
SPECIAL_TOKENS = (END_OF_TEXT, START_OF_TURN, END_OF_TURN, PADDING)

# `{% generation %}` encloses what the model writes: the content and the end of turn. Contents are trimmed, as in Llama
# 3's template: a leading line break would fuse with the one after the role into one token, and the tokens of the prompt
# would no longer be a prefix of those of the whole chat.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
    {%- if message['role'] not in ['system', 'user', 'assistant', 'tool'] -%}
        {{- raise_exception('unknown role ' ~ message['role'] ~ ': expected system, user, assistant or tool') -}}
    {%- endif -%}
    {%- if message['content'] is string -%}
        {%- set content = message['content'] | trim -%}
    {%- else -%}
        {%- set parts = message['content'] | selectattr('type', 'equalto', 'text') -%}
        {%- set content = parts | map(attribute='text') | join | trim -%}
    {%- endif -%}
    {{- '<|im_start|>' ~ message['role'] ~ '\\n' -}}
    {%- if message['role'] == 'assistant' -%}
        {%- generation -%}{{- content ~ '<|im_end|>' -}}{%- endgeneration -%}
    {%- else -%}
        {{- content ~ '<|im_end|>' -}}
    {%- endif -%}
    {{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""
