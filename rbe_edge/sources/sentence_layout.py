"""Sentence encoders as sentence-transformers publishes them: modules.json beside the model names what follows it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from rbe_edge.errors import PackError
from rbe_edge.sources.config import Config
from rbe_edge.sources.json_file import read_json
from rbe_edge.sources.messages import shown

#: Ways to pool, by the key that names each in Pooling's config.json, and the format's word; None: not computed.
_POOLINGS = {
    "pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean", "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "last", "pooling_mode_mean_sqrt_len_tokens": None,
    "pooling_mode_weightedmean_tokens": None,
}  # fmt: skip
_POOLING_WORDS = {"cls": "cls", "mean": "mean", "max": "max", "lasttoken": "last"}  # of newer files: pooling_mode

_ACTIVATIONS = {"Tanh": "tanh", "Identity": "none", "GELU": "gelu", "ReLU": "relu", "SiLU": "silu"}

_MOST_MODULES = 16


@dataclass(frozen=True)
class DenseModule:
    """A dense layer behind pooling. path: the folder whose model.safetensors holds `linear.weight`, and `linear.bias`
    where it has one."""

    path: str
    inputs: int
    outputs: int
    has_bias: bool
    activation: str


@dataclass(frozen=True)
class SentenceLayout:
    """pooling: in the format's words. max_tokens: that a text is cut to; None where nothing says so. prompts: by name,
    what is put in front of a text."""

    pooling: str
    dense: tuple[DenseModule, ...] = ()
    normalize: bool = False
    max_tokens: int | None = None
    prompts: str = ""  # a JSON object, "" for none
    default_prompt: str = ""


def read_layout(directory: Path) -> SentenceLayout | None:
    """What the files beside a model say; None where they say nothing. Raises PackError for a module or a setting that
    is not computed, by its name."""
    path = directory / "modules.json"
    if not path.is_file():
        return None
    modules = read_json(path, PackError)
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise PackError(f"{path}: is no list of modules; download the file again")
    if len(modules) > _MOST_MODULES:
        raise PackError(f"{path}: names {len(modules)} modules; {_MOST_MODULES} are supported")
    found: SentenceLayout | None = None
    for number, module in enumerate(modules):
        part = Config(module, f"{path.name}, module {number}")
        kind, place = part.text("type").rsplit(".", 1)[-1], part.text("path", "")
        if Path(place).name != place or not place.isprintable():
            raise PackError(f"{part.where}: its path {shown(place)} is no folder of the model's directory")
        found = _with_module(found, kind, place, directory, first=number == 0)
    if found is None:
        raise PackError(f"{path}: names no Pooling, so it gives no vector of a text; give a model that has one")
    return _with_settings(found, directory)


def _with_module(
    found: SentenceLayout | None, kind: str, place: str, directory: Path, first: bool
) -> SentenceLayout | None:
    """The layout so far with one more module behind it."""
    if kind == "Transformer" and first:
        if place:
            raise PackError(f"modules.json: the Transformer lies in {place}; put its files beside modules.json")
        return None
    if kind == "Pooling" and found is None and not first:
        return SentenceLayout(_pooling(_object(directory / place / "config.json")))
    if kind == "Dense" and found is not None and not found.normalize:
        return replace(found, dense=(*found.dense, _dense(place, _object(directory / place / "config.json"))))
    if kind == "Normalize" and found is not None:
        return replace(found, normalize=True)
    raise PackError(
        f"modules.json: a module {shown(kind)} at this place is not supported; supported are Transformer, Pooling, "
        f"Dense and Normalize, in this order"
    )


def _object(path: Path) -> Config:
    """A JSON file that holds an object. Raises PackError where it is missing too."""
    value = read_json(path, PackError)
    if not isinstance(value, dict):
        raise PackError(f"{path}: holds {type(value).__name__}, not an object; download the file again")
    return Config(value, str(path))


def _pooling(config: Config) -> str:
    if not config.flag("include_prompt", True):
        raise PackError(f"{config.where}: include_prompt = false is not supported: prompts are pooled with their text")
    if config.has("pooling_mode"):
        named = config.values["pooling_mode"]
        modes = [named] if isinstance(named, str) else list(named) if isinstance(named, list) else []
        words = [_POOLING_WORDS.get(mode) if isinstance(mode, str) else None for mode in modes]
    else:
        modes = [key for key in config.values if key.startswith("pooling_mode_") and config.flag(key, False)]
        words = [_POOLINGS.get(key) for key in modes]
    if len(words) != 1 or words[0] is None:
        raise PackError(
            f"{config.where}: pooling by {shown(modes)} is not supported, only one of {', '.join(_POOLING_WORDS)}"
        )
    return words[0]


def _dense(place: str, config: Config) -> DenseModule:
    name = config.text("activation_function", "torch.nn.modules.activation.Tanh").rsplit(".", 1)[-1]
    if name not in _ACTIVATIONS:
        raise PackError(f"{config.where}: activation_function {shown(name)} is not supported")
    for key in ("module_input_name", "module_output_name"):
        if config.text(key, "sentence_embedding") != "sentence_embedding":
            raise PackError(f"{config.where}: {key} = {shown(config.values[key])} is not supported")
    inputs, outputs = config.integer("in_features"), config.integer("out_features")
    return DenseModule(place, inputs, outputs, config.flag("bias", True), _ACTIVATIONS[name])


def _with_settings(found: SentenceLayout, directory: Path) -> SentenceLayout:
    """With what the two other files say: how long texts may be, and prompts."""
    path = directory / "sentence_bert_config.json"
    settings = _object(path) if path.is_file() else Config({}, path.name)
    if settings.flag("do_lower_case", False):
        raise PackError(f"{path}: do_lower_case = true is not supported; set it in the tokenizer's configuration")
    longest = settings.integer("max_seq_length") if settings.has("max_seq_length") else None
    path = directory / "config_sentence_transformers.json"
    config = _object(path) if path.is_file() else Config({}, path.name)
    prompts = config.part("prompts").values if config.has("prompts") else {}
    if not all(isinstance(text, str) for text in prompts.values()):
        raise PackError(f"{path}: prompts are not all texts; correct the file")
    default = config.text("default_prompt_name") if config.has("default_prompt_name") else ""
    if default and default not in prompts:
        raise PackError(f"{path}: default_prompt_name {shown(default)} is none of its prompts; correct the file")
    told = json.dumps(dict(prompts), ensure_ascii=False) if any(prompts.values()) else ""
    return replace(found, max_tokens=longest, prompts=told, default_prompt=default if told else "")
