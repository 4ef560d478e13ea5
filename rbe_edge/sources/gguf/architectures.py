"""The architectures of llama.cpp that can be packed: rows as in rbe_edge/sources/architectures.py, with the names that
llama.cpp gives to tensors, and its conventions.

They follow from the rows for Hugging Face. What differs in a GGUF file: matrices are [outputs][inputs] for all
architectures, Gemma's norms have the one in them already, and rotary pairs of `llama` are neighbours (tensors.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from rbe_edge.sources.architecture import Architecture, Rule
from rbe_edge.sources.architectures import ARCHITECTURES
from rbe_edge.sources.config import Config
from rbe_edge.sources.encoder_decoders import ENCODER_DECODERS
from rbe_edge.sources.gguf.names import gguf_name
from rbe_edge.sources.layer_shapes import LAYER_EMBEDDINGS

#: A key of the configuration: the optional tensors that the file has, as named in Architecture.features.
FEATURES = "features"

# Several in one.
_FUSED = {"attention": "blk.N.attn_qkv", "feed_forward": "blk.N.ffn_up"}
# What is in one elsewhere, and here without rows that no text uses, or a tensor for each.
_APART = ("positions", "layers.N.shared.")

EMBEDDING, LM_HEAD = "token_embd.weight", "output.weight"
SEGMENTS = "token_types.weight"
ROPE_FREQUENCIES = "rope_freqs.weight"
LONG_FACTORS, SHORT_FACTORS = "rope_factors_long.weight", "rope_factors_short.weight"

# The optional tensors of the rows, by the tensor of some layer that shows that a file has them.
_OPTIONAL = {
    "qkv_bias": "blk.N.attn_q.bias", "o_bias": "blk.N.attn_output.bias", "mlp_bias": "blk.N.ffn_up.bias",
    "qk_norm": "blk.N.attn_q_norm.weight", "segments": SEGMENTS,
    LAYER_EMBEDDINGS: "per_layer_token_embd.weight", "taps_bias": "blk.N.ssm_conv1d.bias",
    "layer_scale": "blk.N.layer_output_scale.weight",
}  # fmt: skip


@dataclass(frozen=True)
class Dialect:
    """What llama.cpp computes under a name. row: the architecture of `.rbe` files that is the same.

    neighbours: rotary pairs of q and k are neighbours. epsilon: key of the norms' epsilon. activation: in
    transformers' words. always, optional: tensors (features) that every file, or some files have. computes: keys that
    other architectures do not compute (configuration.py). divides: tensors may divide its rotary frequencies.
    """

    name: str
    row: Architecture
    neighbours: bool = False
    epsilon: str = "attention.layer_norm_rms_epsilon"
    activation: str = "silu"
    always: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    computes: tuple[str, ...] = ()
    divides: bool = False

    def features(self, names: Mapping[str, object]) -> tuple[str, ...]:
        """Which optional tensors are to be read from a file with tensors of these names."""
        of_layers = {re.sub(r"^blk\.\d+\.", "blk.N.", name) for name in names}
        return self.always + tuple(feature for feature in self.optional if _OPTIONAL[feature] in of_layers)

    def rotary(self, heads: int, kv_heads: int) -> Mapping[str, int]:
        """Endings of the names of tensors with rotary pairs of neighbours, and their heads."""
        if not self.neighbours:
            return {}
        return {f".attn_{part}.{kind}": n for part, n in (("q", heads), ("k", kv_heads)) for kind in ("weight", "bias")}


def _rule(rule: Rule) -> Rule:
    if rule.fused and rule.target.startswith(_APART):
        rule = replace(rule, fused=(), piece=0)
    if rule.fused:
        group, ending = rule.target.split(".")[2], "bias" if rule.role == "bias" else "weight"
        return replace(rule, source=f"{_FUSED[group]}.{ending}")
    return replace(rule, source=gguf_name(rule.target))


def _features(config: Config) -> frozenset[str]:
    return frozenset(config.values[FEATURES])


def _row(model_type: str, named: Callable[[Rule], Rule] = _rule) -> Architecture:
    """The row of an architecture, in llama.cpp's names. Its configuration leaves nothing to defaults."""
    row = next(row for row in ARCHITECTURES if row.model_type == model_type)
    return replace(
        row, rules=tuple(named(rule) for rule in row.rules), features=_features, defaults={}, renamed={},
        prefixes=("",), lm_heads=(LM_HEAD,), ignored=(), norm_plus_one=False, activation_key="hidden_act",
        transposed=False, older={}, neighbours=False,
    )  # fmt: skip


def _lfm2(model_type: str) -> Architecture:
    """LFM2's last norm is what llama.cpp calls that of the embedding; sizes are as the file says."""
    row = _row(model_type)
    rules = (replace(rule, source="token_embd_norm.weight") if rule.target == "norm" else rule for rule in row.rules)
    return replace(row, rules=tuple(rules), adapt=None)


# Where recurrent layers, and what stands beside them, have their tensors; not named: as names.py says.
_RECURRENT = {
    "decay.bias": "ssm_dt.bias", "rate": "ssm_a", "skip": "ssm_d", "gated_norm": "ssm_norm.weight",
    "o": "ssm_out.weight", "norm": "attn_norm.weight",
    **{f"{part}_taps": "ssm_conv1d.weight" for part in "qkv"},
    **{f"{part}_taps.bias": "ssm_conv1d.bias" for part in "qkv"},
}  # fmt: skip
_QWEN35 = {
    **{part: "attn_qkv.weight" for part in "qkv"}, "gate": "attn_gate.weight", "decay": "ssm_alpha.weight",
    "beta": "ssm_beta.weight",
}  # fmt: skip
_QWEN3_NEXT = {**_QWEN35, "decay": "ssm_ba.weight", "beta": "ssm_ba.weight"}
_BEHIND = {"feed_forward.norm": "post_attention_norm.weight"}  # of attention, that is
_GRANITE = {part: "ssm_in.weight" for part in ("q", "k", "v", "gate", "decay")}


_PLAIN = {"attn_qkv.weight": ("recurrent_key", "recurrent_key", "recurrent_value"), "attn_gate.weight": ()}


def _recurrent(model_type: str, own: Mapping[str, str], around: Mapping[str, str]) -> Architecture:
    """Rates are negative, and what holds several tensors does so here too. around: names that differ from names.py."""

    def named(rule: Rule) -> Rule:
        _, _, target = rule.target.partition("N.")
        block, _, part = target.partition(".")
        name = {**_RECURRENT, **own}[part] if block == "recurrence" else around.get(target)
        if block == "attention" and rule.per_head:  # queries and gates
            name = f"attn_q.{'bias' if rule.role == 'bias' else 'weight'}"
        if name is None:
            return _rule(replace(rule, fused=(), piece=0))
        if name in _PLAIN:  # wherever else a source has them
            rule = replace(rule, fused=_PLAIN[name], piece="qkv".find(part), per_head=False)
        return replace(rule, source=f"blk.N.{name}", change="negative" if rule.change else "")

    return _row(model_type, named)


_LAYER_NORM = "attention.layer_norm_epsilon"
_BIASES = ("qkv_bias", "o_bias", "mlp_bias")

#: Keys of Granite's factors.
SCALES = ("embedding_scale", "residual_scale", "logit_scale", "attention.scale")
#: The key of blocks at the end that guess further tokens; where it is computed, they are left out.
GUESSING = "nextn_predict_layers"
#: Of Ministral 3's attention, which grows with the position.
TEMPERATURE = ("attention.temperature_scale", "rope.scaling.yarn_log_multiplier")
_IGNORED = ("use_parallel_residual",)  # of StableLM: the converter writes it for all, and the tensors decide
# The factors of MiniCPM have Granite's words in these files.
_MINICPM = replace(_row("minicpm"), adapt=_row("granite").adapt)

DIALECTS: tuple[Dialect, ...] = (
    Dialect("llama", _row("llama"), neighbours=True, optional=_BIASES, divides=True),
    Dialect("qwen2", _row("qwen2"), optional=_BIASES),
    Dialect("qwen3", _row("qwen3"), always=("qk_norm",), optional=_BIASES),
    Dialect("qwen3moe", _row("qwen3_moe"), always=("qk_norm",), optional=_BIASES),
    Dialect("gemma2", _row("gemma2"), activation="gelu_pytorch_tanh"),
    Dialect("gemma3", _row("gemma3_text"), activation="gelu_pytorch_tanh", always=("qk_norm",)),
    Dialect(
        "gemma4",
        _row("gemma4_text"),
        activation="gelu_pytorch_tanh",
        optional=(LAYER_EMBEDDINGS, "layer_scale"),
        computes=("attention.shared_kv_layers",),
    ),
    Dialect("gpt2", _row("gpt2"), epsilon=_LAYER_NORM, activation="gelu_new"),
    Dialect("phi3", _row("phi3"), divides=True),
    Dialect("smollm3", _row("smollm3"), neighbours=True, optional=_BIASES),
    Dialect("mistral3", _row("ministral3"), neighbours=True, computes=TEMPERATURE, divides=True),
    Dialect("granite", _row("granite"), neighbours=True, optional=_BIASES, computes=SCALES),
    Dialect("olmo2", _row("olmo2"), always=("qk_norm",)),
    Dialect("exaone4", _row("exaone4"), always=("qk_norm",), divides=True),
    Dialect("exaone", _row("exaone"), divides=True),
    Dialect("hunyuan-dense", _row("hunyuan_v1_dense"), always=("qk_norm",)),
    Dialect("stablelm", _row("stablelm"), epsilon=_LAYER_NORM, optional=("qkv_bias",), computes=_IGNORED),
    Dialect("ernie4_5", _row("ernie4_5"), neighbours=True, optional=_BIASES),
    Dialect("minicpm", _MINICPM, neighbours=True, computes=SCALES, divides=True),
    Dialect("spark2_5", _row("spark2_5"), activation="gelu"),
    Dialect("lfm2", _lfm2("lfm2")),
    Dialect("lfm2moe", _lfm2("lfm2_moe"), always=("expert_bias",)),
    Dialect("qwen2moe", _row("qwen2_moe"), optional=_BIASES),
    Dialect("olmoe", _row("olmoe")),
    Dialect(
        "qwen35", _recurrent("qwen3_5_text", _QWEN35, _BEHIND), optional=("qkv_bias", "o_bias"), computes=(GUESSING,)
    ),
    Dialect(
        "qwen35moe",
        _recurrent("qwen3_5_moe_text", _QWEN35, _BEHIND),
        optional=("qkv_bias", "o_bias"),
        computes=(GUESSING,),
    ),
    Dialect(
        "qwen3next",
        _recurrent("qwen3_next", _QWEN3_NEXT, _BEHIND),
        optional=("qkv_bias", "o_bias"),
        computes=(GUESSING,),
    ),
    Dialect(
        "granitehybrid",
        _recurrent("granitemoehybrid", _GRANITE, {}),
        neighbours=True,
        optional=("qkv_bias", "o_bias", "taps_bias"),
        computes=SCALES,
    ),
    Dialect("granitemoe", _row("granitemoe"), neighbours=True, optional=_BIASES, computes=SCALES),
    Dialect("bert", _row("bert"), epsilon=_LAYER_NORM, activation="gelu", optional=("segments",)),
    Dialect("nomic-bert", _row("nomic_bert"), epsilon=_LAYER_NORM, activation="silu", optional=("segments",)),
)
MISTRAL = _row("mistral")  # what llama is where the file names a window
GRANITE_SHARED = _row("granitemoeshared")  # what granitemoe is where the file names a shared expert

#: T5's tensors get Hugging Face's names (t5.py).
ROWS: tuple[Architecture, ...] = (*(dialect.row for dialect in DIALECTS), MISTRAL, GRANITE_SHARED, *ENCODER_DECODERS)
