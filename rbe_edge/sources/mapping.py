"""From a source to a plan: which architecture it is, what its configuration means, where its tensors go.

Everything that can be refused is refused here, before anything is written.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping

import numpy as np

from rbe_edge.errors import PackError
from rbe_edge.format.metadata import MetadataValue
from rbe_edge.sources.activations import activation
from rbe_edge.sources.architecture import ATTENTION, OTHER_KINDS, Architecture, Rule
from rbe_edge.sources.architectures import ARCHITECTURES, supported_names
from rbe_edge.sources.config import Config
from rbe_edge.sources.encoder_decoders import decoder_start
from rbe_edge.sources.expert_rules import rules_of_layer
from rbe_edge.sources.experts import experts_last, taken_apart
from rbe_edge.sources.gguf.architectures import ROWS as GGUF_ROWS
from rbe_edge.sources.heads import Head, head_of
from rbe_edge.sources.hybrids import RECURRENT, convolution_taps, kinds_of
from rbe_edge.sources.joined import joined
from rbe_edge.sources.layer_shapes import LAYERS_OWN, LayerShapes
from rbe_edge.sources.messages import shown
from rbe_edge.sources.plan import ModelPlan, TensorPlan
from rbe_edge.sources.positions import limit_context, positions_before, rotary
from rbe_edge.sources.relative_positions import distances, is_distances
from rbe_edge.sources.tensor_plans import tensor_plan
from rbe_edge.sources.types import Source, SourceTensor
from rbe_edge.terminal_text import one_line

# Keys with which configurations of any architecture announce what this version does not compute.
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")

# Models that also see or hear, and what their language part is, which lies under text_config; where nothing stands
# here, it says so itself.
_SEEING = {
    "gemma3": "gemma3_text", "gemma4": "gemma4_text", "mistral3": "", "qwen3_5": "qwen3_5_text",
    "qwen3_5_moe": "qwen3_5_moe_text",
}  # fmt: skip

# Keys whose null says that there is no cap and no window. Other nulls count as absent.
_NULLABLE = ("attn_logit_softcapping", "final_logit_softcapping", "sliding_window")

_LAYER = ".N."  # in the names of rules

_LARGEST_NUMBER = 1e9  # that the engine takes for a scale, a cap or an epsilon


def plan_model(source: Source) -> ModelPlan:
    """Finds the architecture of a source and plans all its tensors.

    What transformers leaves out of a directory is left out here, with a note.
    Raises PackError for an architecture or a feature that is not supported, a configuration that does not make sense,
    and tensors that are missing, of another shape than the configuration says, or, in GGUF files, left over.
    """
    row, config = _architecture(source)
    if row.experts is not None:
        source = taken_apart(source)
    sizes = _sizes(row, config)
    if sizes["layers"] > len(source.tensors):  # not to be believed: lists of this length follow
        raise PackError(
            f"{config.where}: num_hidden_layers is {sizes['layers']}, but there are {len(source.tensors)} tensors; "
            f"check both"
        )
    notes: list[str] = []
    layers = row.layers(config, sizes["layers"])
    head = head_of(row, config, source)
    recurrent = row.recurrence(config) if row.recurrence is not None and set(RECURRENT) & set(layers) else None
    sizes |= recurrent.sizes if recurrent is not None else {}
    shapes = row.shapes(config, sizes, layers)
    sizes |= shapes.largest
    limit_context(sizes, source, notes)
    metadata = {
        **_metadata(row, config, sizes, layers), **head.metadata, **kinds_of(layers, sizes, recurrent),
        **shapes.metadata,
    }  # fmt: skip
    tensors = _tensors(row, config, {**sizes, **head.sizes}, shapes, source, head, layers, notes)
    if row.position == "rope":
        more, tensors = rotary(row, config, sizes, shapes, layers, tensors, notes)
        metadata |= more
    elif row.position == "relative":
        tensors += distances(config, sizes, source)
    if row.encoder_rules:
        metadata |= {"encoder.layers": sizes["encoder_layers"], "decoder.start": decoder_start(config, sizes)}
    for name, value in metadata.items():
        if isinstance(value, float) and not 0 <= value <= _LARGEST_NUMBER:
            raise PackError(f"{config.where}: gives {name} = {value:g}, which is no number up to 1e9; correct the file")
    return ModelPlan(row.model_type, metadata, tuple(experts_last(tensors)), tuple(dict.fromkeys(notes)))


def _metadata(
    row: Architecture, config: Config, sizes: Mapping[str, int], layers: list[str]
) -> dict[str, MetadataValue]:
    """What the configuration says of the model, without its rotary positions and its head."""
    metadata: dict[str, MetadataValue] = {
        "architecture": row.model_type,
        **{key: sizes[key] for key in ("layers", "width", "vocabulary", "context", "heads", "kv_heads", "head_dim")},
        "feed_forward": sizes["feed_forward"],
        "norm.kind": row.norm,
        "norm.epsilon": config.positive("rms_norm_eps"),
        "norm.place": row.norm_place,
        "position.kind": row.position,
        "attention.scale": config.positive("query_pre_attn_scalar", sizes["head_dim"]) ** -0.5,
        "feed_forward.activation": activation(config, row.activation_key),
        "feed_forward.gated": int(row.gated),
    }
    if row.experts is not None:
        metadata |= row.experts.metadata(config, row.experts.layers(config, sizes["layers"]))
    if row.both_directions:
        metadata["attention.direction"] = "both"
    if sizes["segments"]:
        metadata["segments"] = sizes["segments"]
    for part in row.softcaps:
        key = {"attention": "attn_logit_softcapping", "logit": "final_logit_softcapping"}[part]
        if config.has(key):
            metadata[f"{part}.softcap"] = config.positive(key)
    if row.scaled_embedding:
        metadata["embedding.scale"] = math.sqrt(sizes["width"])
    elif row.embedding_scale != 1:
        metadata["embedding.scale"] = row.embedding_scale
    if row.options is not None:
        metadata |= row.options(config, sizes["layers"], layers)
    if "sliding" in layers:
        window = row.window(config)
        if window < sizes["context"]:  # one that never ends is none
            metadata["attention.windows"] = tuple(window if kind == "sliding" else 0 for kind in layers)
    return metadata


def _architecture(source: Source) -> tuple[Architecture, Config]:
    """The row of a source, and its configuration in the words of the table."""
    values: Mapping[str, object] = source.config
    where = source.described_in
    text = values.get("text_config")
    if isinstance(text, dict) and values.get("model_type") in _SEEING:
        # A model that also sees: its language part is packed. The whole model says whether the head is tied.
        tied = values.get("tie_word_embeddings")
        kind = _SEEING[str(values["model_type"])] or text.get("model_type", "mistral")
        if tied is None and not str(kind).startswith("gemma"):
            tied = text.get("tie_word_embeddings")
        values = {**text, "model_type": kind, "tie_word_embeddings": tied}
        where = f"{where}: text_config"
    if isinstance(text, dict) and values.get("model_type") == "lfm2_vl":
        tied = values.get("tie_embedding", values.get("tie_word_embeddings"))
        values = {**text, "model_type": "lfm2", "tie_embedding": tied}
        where = f"{where}: text_config"
    if any(found.get("quantization_config") is not None for found in (source.config, values)):
        raise PackError(f"{source.name}: the weights are quantized already; pack the unquantized model")
    model_type = values.get("model_type")
    rows = GGUF_ROWS if source.layout == "gguf" else ARCHITECTURES
    row = next((row for row in rows if row.model_type == model_type), None)
    if row is None:
        named = source.config.get("architectures")
        first = named[0] if isinstance(named, list) and named else None
        also = f" ({one_line(first, 60)})" if isinstance(first, str) else ""
        raise PackError(
            f"{source.name}: the architecture {shown(model_type)}{also} is not supported; supported are "
            f"{', '.join(supported_names())}"
        )
    values = {**row.defaults, **{key: value for key, value in values.items() if value is not None or key in _NULLABLE}}
    for theirs, ours in row.renamed.items():
        if theirs in values:
            values[ours] = values[theirs]
    if row.adapt is not None:
        row, values = row.adapt(row, values)
    config = Config(values, where)
    for key in _EXPERTS if row.experts is None else ():
        if config.values.get(key):
            raise PackError(f"{source.name}: a mixture of experts ({key}) is not supported; take a dense model")
    for key, value in row.fixed.items():
        if values.get(key) not in (None, value):
            raise PackError(f"{source.name}: {key} = {shown(values[key])} is not supported, only {value!r}")
    return row, config


def _sizes(row: Architecture, config: Config) -> dict[str, int]:
    """The dimensions, under the names that rules use."""
    width, heads = config.integer("hidden_size"), config.integer("num_attention_heads")
    kv_heads = config.integer("num_key_value_heads", heads)
    if not config.has("head_dim") and width % heads:
        raise PackError(f"{config.where}: {heads} heads do not divide a width of {width}; correct the file")
    if heads % kv_heads:
        raise PackError(f"{config.where}: {kv_heads} key heads do not divide {heads} heads; correct the file")
    head_dim = config.integer("head_dim", width // heads)
    before = positions_before(row, config)
    return {
        "one": 1,
        "width": width,
        "layers": config.integer("num_hidden_layers"),
        "encoder_layers": config.integer("num_encoder_layers", 0) if row.encoder_rules else 0,
        "vocabulary": config.integer("vocab_size"),
        "context": config.integer("max_position_embeddings") - before,
        "positions_before": before,
        "positions_behind": 0,
        "segments": config.integer("type_vocab_size", 1) if "segments" in row.features(config) else 0,
        "heads": heads,
        "kv_heads": kv_heads,
        "head_dim": head_dim,
        "thirds": 3 * width,
        "taps": convolution_taps(config),
        "query": heads * head_dim,
        "key": kv_heads * head_dim,
        "feed_forward": config.integer("intermediate_size", None if row.gated else 4 * width),
        **(row.experts.sizes(config) if row.experts is not None else {}),
    }


def _tensors(
    row: Architecture,
    config: Config,
    sizes: Mapping[str, int],
    shapes: LayerShapes,
    source: Source,
    head: Head,
    kinds: list[str],
    notes: list[str],
) -> list[TensorPlan]:
    """Plans every tensor that the rules name."""
    embedding = next(rule.source for rule in row.rules if rule.role == "embedding")
    prefix = _prefix(row, source)
    features = row.features(config)
    lm_head = next((name for name in row.lm_heads if name in source.tensors), row.lm_heads[0])
    tied = not head.has_words or config.flag("tie_word_embeddings", False)
    renamed = {}
    if head.has_words and tied and lm_head in source.tensors:
        if prefix + embedding not in source.tensors:
            renamed[prefix + embedding] = lm_head  # which of the two is stored does not matter
        elif not _same(source.tensors[lm_head], source.tensors[prefix + embedding]):
            tied = False
            notes.append(
                f"{lm_head} differs from {prefix}{embedding} although {config.where} ties them; both are packed"
            )
    plans: list[TensorPlan] = []
    used = {lm_head}

    def add(rule: Rule, target: str, name: str, sizes: Mapping[str, int]) -> None:
        name = _as_stored(row, source, renamed.get(name, name))
        heads = sizes["heads" if rule.cols == "query" else "kv_heads"] if "*" in name else 0
        names = [name.replace("*", str(head)) for head in range(heads)] or [name]
        tensors = [_found(source, one) for one in names]
        used.update(names)
        plans.append(tensor_plan(row, rule, target, joined(name, tensors) if heads else tensors[0], sizes))

    stack = [*row.rules, *head.rules]
    for rules, layer in _rules(row, config, sizes, stack):
        of_layer, there = shapes.sizes_of(layer, sizes), shapes.features_of(layer, features)
        for rule in rules:
            if (layer is None) == (_LAYER in rule.target):
                continue
            if rule.needs and rule.needs not in there:
                if rule.needs in LAYERS_OWN:  # some files hold what the layer does not read
                    used.add(prefix + rule.source.replace(_LAYER, f".{layer}."))
                continue
            if layer is not None and (layer < rule.from_layer or not _in_layer(rule, kinds, layer)):
                continue
            place = f".{layer}."
            name = rule.source.replace(_LAYER, place)
            add(rule, rule.target.replace(_LAYER, place), name if rule.outside else prefix + name, of_layer)
    if not tied:
        add(Rule("head", lm_head, "vocabulary", "width", "head"), "head", lm_head, sizes)
    plans.sort(key=lambda plan: plan.role == "layer_embedding")  # the last of the file, which no token reads whole
    _leave_out(row, source, used, notes)
    return plans


def _rules(
    row: Architecture, config: Config, sizes: Mapping[str, int], stack: list[Rule]
) -> Iterator[tuple[list[Rule], int | None]]:
    """Those of what stands around the layers (None), of each layer, and of each of an encoder in front of them."""
    n_layers = sizes["layers"]
    experts = row.experts.layers(config, n_layers) if row.experts is not None else [False] * n_layers
    yield stack, None
    for layer, has_experts in enumerate(experts):
        yield rules_of_layer(stack, sizes["experts"] if has_experts else 0, sizes.get("shared", 0)), layer
    for layer in range(sizes["encoder_layers"]):
        yield list(row.encoder_rules), layer


def _found(source: Source, name: str) -> SourceTensor:
    tensor = source.tensors.get(name)
    if tensor is None:
        why = source.missing.get(name)
        reason = f": {why}" if why else ""
        raise PackError(f"{source.name}: the tensor {name} is missing{reason}; download the weights again")
    return tensor


def _in_layer(rule: Rule, kinds: list[str], layer: int) -> bool:
    """Whether a layer of its kind has the tensor."""
    return not rule.kind or rule.kind == (kinds[layer] if kinds[layer] in OTHER_KINDS else ATTENTION)


def _leave_out(row: Architecture, source: Source, used: set[str], notes: list[str]) -> None:
    """What of a source is not packed: what carries nothing, towers that see and hear, what has no place."""
    ignored = {name for name in source.tensors if any(re.search(pattern, name) for pattern in row.ignored)}
    ignored |= {name for name in source.tensors if row.position == "relative" and is_distances(name)}
    towers = {name for name in source.tensors if row.towers and re.search(row.towers, name)}
    if towers:
        notes.append(f"{len(towers)} tensors of what sees and hears images and sound; the text model alone is packed")
    _left_over(row, source, sorted(source.tensors.keys() - used - ignored - towers), notes)


def _prefix(row: Architecture, source: Source) -> str:
    """What stands before the names of the source's tensors."""
    outer = [rule.source for rule in row.rules if _LAYER not in rule.target]
    found = (prefix for name in outer for prefix in row.prefixes if prefix + name in source.tensors)
    return next(found, row.prefixes[0])


def _as_stored(row: Architecture, source: Source, name: str) -> str:
    """The name of a tensor, or what it was called before where the source has that."""
    for ending, older in row.older.items():
        if name.endswith(ending) and name not in source.tensors:
            former = name.removesuffix(ending) + older
            return former if former in source.tensors else name
    return name


def _left_over(row: Architecture, source: Source, names: list[str], notes: list[str]) -> None:
    """Tensors without a place. transformers leaves them out, llama.cpp refuses the file; both are followed."""
    if not names:
        return
    message = f"{len(names)} tensors have no place in {row.title}, such as {one_line(names[0], 80)}"
    if source.layout == "gguf":
        raise PackError(
            f"{source.name}: {message}; the metadata and the weights do not belong together, or the model has parts "
            f"that are not supported"
        )
    notes.append(f"{message}; left out")


def _same(one: SourceTensor, other: SourceTensor) -> bool:
    return one.shape == other.shape and np.array_equal(one.data, other.data)
