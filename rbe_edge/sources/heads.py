"""What stands behind the last layer of a model: words, pooled vectors of texts, classes of texts.

For an encoder the name of its class in `architectures` says which of them, or the modules of sentence-transformers do
(sentence_layout.py). A decoder has words in any case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rbe_edge.errors import PackError
from rbe_edge.format.metadata import MetadataValue
from rbe_edge.sources.activations import activation
from rbe_edge.sources.architecture import Architecture, Rule, bias, norm
from rbe_edge.sources.config import Config
from rbe_edge.sources.messages import shown
from rbe_edge.sources.sentence_layout import SentenceLayout
from rbe_edge.sources.types import Source


@dataclass(frozen=True)
class Head:
    """rules: of its tensors; sizes: that these name, besides those of all models. has_words: whether there is a matrix
    that gives words, or an embedding that serves as one."""

    rules: tuple[Rule, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)
    has_words: bool = True


@dataclass(frozen=True)
class _Names:
    """Of the tensors of heads, as a family of encoders calls them. pooler: the first dense layer of a classifier, and
    whether it lies inside of the model."""

    dense: str
    norm: str
    word_bias: str
    pooler: str
    pooler_inside: bool
    classifier: str


_CLS = "cls.predictions.transform"
_BERT = _Names(f"{_CLS}.dense", f"{_CLS}.LayerNorm", "cls.predictions.bias", "pooler.dense", True, "classifier")
_ROBERTA = _Names(
    "lm_head.dense", "lm_head.layer_norm", "lm_head.bias", "classifier.dense", False, "classifier.out_proj"
)
_NAMES = {
    "bert": _BERT, "roberta": _ROBERTA, "xlm-roberta": _ROBERTA, "camembert": _ROBERTA,
    "modernbert": _Names("head.dense", "head.norm", "decoder.bias", "head.dense", False, "classifier"),
    "nomic_bert": _Names(f"{_CLS}.dense", f"{_CLS}.layer_norm", "cls.predictions.bias", "pooler.dense", True,
                         "classifier"),
}  # fmt: skip


def head_of(row: Architecture, config: Config, source: Source) -> Head:
    """The head of a source. Raises PackError for one that is not supported."""
    pooled = _pooled(source.sentence, config) if source.sentence is not None else None
    if not row.both_directions:
        return pooled or Head()
    if pooled is not None:
        return Head(pooled.rules, pooled.sizes, {"head.kind": "none", **pooled.metadata}, has_words=False)
    if source.layout == "gguf":
        return _ranking(config, source)
    named = source.config.get("architectures")
    name = named[0] if isinstance(named, list) and named else "Model"
    if isinstance(name, str) and name.endswith(("ForMaskedLM", "ForPreTraining")):
        return _masked(row, config)
    if isinstance(name, str) and name.endswith("ForSequenceClassification"):
        return _classes(row, config)
    if isinstance(name, str) and name.endswith("Model") and not name.endswith("LMHeadModel"):
        return Head(metadata={"head.kind": "none"}, has_words=False)
    raise PackError(
        f"{source.name}: the head of {shown(name)} is not supported; of {row.title} the model itself, ForMaskedLM and "
        f"ForSequenceClassification are"
    )


def _ranking(config: Config, source: Source) -> Head:
    """Of a GGUF file: the scores of a model that ranks, where it has tensors for them, else nothing."""
    metadata: dict[str, MetadataValue] = {"head.kind": "none"}
    output = source.tensors.get("cls.output.weight")
    if output is None:
        return Head(metadata=metadata, has_words=False)
    width, rules, sizes = config.integer("hidden_size"), list[Rule](), dict[str, int]()
    names = [name for name in ("cls", "cls.output") if f"{name}.weight" in source.tensors]
    for number, name in enumerate(names):
        rules += _dense_rules(number, name, f"{name}.bias" in source.tensors)
        sizes |= {f"pooled{number}_in": width, f"pooled{number}": width}
    sizes[f"pooled{len(names) - 1}"] = output.shape[0]
    metadata |= {
        "pooling": "cls", "pooled.kind": "classes", "pooled.layers": len(names),
        "pooled.activations": " ".join(["tanh", "none"][-len(names) :]),
    }  # fmt: skip
    return Head(tuple(rules), sizes, metadata, has_words=False)


def _pooled(layout: SentenceLayout, config: Config) -> Head:
    """Pooling, and the dense layers behind it."""
    width = config.integer("hidden_size")
    rules: list[Rule] = []
    sizes: dict[str, int] = {}
    for number, layer in enumerate(layout.dense):
        if layer.inputs != width:
            raise PackError(f"{layer.path}/config.json: in_features is {layer.inputs}, expected {width}; check both")
        rules += _dense_rules(number, f"{layer.path}.linear", layer.has_bias)
        sizes |= {f"pooled{number}_in": width, f"pooled{number}": layer.outputs}
        width = layer.outputs
    metadata: dict[str, MetadataValue] = {"pooling": layout.pooling, "pooled.kind": "embedding"}
    if layout.dense:
        metadata["pooled.layers"] = len(layout.dense)
        metadata["pooled.activations"] = " ".join(layer.activation for layer in layout.dense)
    if layout.normalize:
        metadata["pooled.normalize"] = 1
    if layout.prompts:
        metadata["embedding.prompts"] = layout.prompts
    if layout.default_prompt:
        metadata["embedding.default_prompt"] = layout.default_prompt
    return Head(tuple(rules), sizes, metadata)


def _dense_rules(number: int, name: str, has_bias: bool, outside: bool = True) -> list[Rule]:
    rows, cols = f"pooled{number}", f"pooled{number}_in"
    rules = [Rule(f"pooled.{number}", f"{name}.weight", rows, cols, "pooled", outside=outside)]
    if has_bias:
        rules.append(bias(f"pooled.{number}.bias", f"{name}.bias", rows, outside=outside))
    return rules


def _norm_rules(target: str, source: str, has_bias: bool) -> list[Rule]:
    rules = [norm(target, f"{source}.weight", outside=True)]
    return rules + ([bias(f"{target}.bias", f"{source}.bias", "width", outside=True)] if has_bias else [])


def _head_activation(row: Architecture, config: Config) -> str:
    if row.model_type == "modernbert":
        return activation(config, "classifier_activation", "gelu")
    return activation(config, row.activation_key) if row.model_type in ("bert", "nomic_bert") else "gelu"


def _masked(row: Architecture, config: Config) -> Head:
    """Words for masked places: a dense layer, a norm, and the embedding or a matrix of its own."""
    names, modern = _NAMES[row.model_type], row.model_type == "modernbert"
    rules = [Rule("head.dense", f"{names.dense}.weight", "width", "width", "pooled", outside=True)]
    if not modern or config.flag("classifier_bias", False):
        rules.append(bias("head.dense.bias", f"{names.dense}.bias", "width", outside=True))
    rules += _norm_rules("head.norm", names.norm, not modern or config.flag("norm_bias", False))
    if not modern or config.flag("decoder_bias", True):
        rules.append(bias("head.bias", names.word_bias, "vocabulary", outside=True))
    return Head(tuple(rules), {}, {"head.kind": "masked", "head.activation": _head_activation(row, config)})


def _classes(row: Architecture, config: Config) -> Head:
    """Classes of a text, or of a pair of texts: two dense layers on what is pooled."""
    names, modern = _NAMES[row.model_type], row.model_type == "modernbert"
    width, labels = config.integer("hidden_size"), _labels(config)
    first, pooling = "tanh", "cls"
    if modern:
        first, pooling = _head_activation(row, config), config.text("classifier_pooling", "cls")
        if pooling not in ("cls", "mean"):
            raise PackError(f"{config.where}: classifier_pooling {shown(pooling)} is not supported, only cls and mean")
    has_bias = not modern or config.flag("classifier_bias", False)
    rules = _dense_rules(0, names.pooler, has_bias, outside=not names.pooler_inside)
    if modern:
        rules += _norm_rules("pooled.0.norm", names.norm, config.flag("norm_bias", False))
    rules += _dense_rules(1, names.classifier, True)
    sizes = {"pooled0_in": width, "pooled0": width, "pooled1_in": width, "pooled1": len(labels)}
    metadata: dict[str, MetadataValue] = {
        "head.kind": "none", "pooling": pooling, "pooled.kind": "classes", "pooled.layers": 2,
        "pooled.activations": f"{first} none", "labels": "\n".join(labels),
    }  # fmt: skip
    return Head(tuple(rules), sizes, metadata, has_words=False)


def _labels(config: Config) -> list[str]:
    """Names of the classes, in their order; transformers' where the configuration has none."""
    if not config.has("id2label"):
        return [f"LABEL_{number}" for number in range(config.integer("num_labels", 2))]
    named = config.part("id2label").values
    names = [named.get(str(number)) for number in range(len(named))]
    if not names or not all(isinstance(name, str) for name in names):
        raise PackError(f"{config.where}: id2label does not name its classes from 0 on; correct the file")
    return [" ".join(str(name).split()) for name in names]
