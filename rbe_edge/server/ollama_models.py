"""What Ollama's API says of models."""

from __future__ import annotations

import hashlib
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rbe_edge.runtime.chat_template import ChatTemplate, template_of
from rbe_edge.runtime.model import Model
from rbe_edge.server.fill_in_the_middle import middle_tokens
from rbe_edge.server.forms import Json
from rbe_edge.server.ollama_form import timestamp
from rbe_edge.server.shelf import Held, file_facts

if TYPE_CHECKING:
    from rbe_edge.runtime.engine_model import EngineModel

_FOR_EVER = 100 * 365 * 86_400.0  # seconds


def tagged(name: str) -> str:
    """A name as Ollama writes it."""
    return name if ":" in name else f"{name}:latest"


def listed(name: str, path: Path, held: Held | None) -> Json:
    """An entry of /api/tags. The details of a model that is not in memory are in /api/show. Touches the disk."""
    changed_at, size = file_facts(path)
    # Of the file's state, not of its bytes: reading those takes seconds.
    digest = hashlib.sha256(f"{name}\0{size}\0{changed_at}".encode()).hexdigest()
    return {
        "name": tagged(name),
        "model": tagged(name),
        "modified_at": timestamp(changed_at),
        "size": size,
        "digest": digest,
        "details": _details(None if held is None else held.service.model),
    }


def running(name: str, held: Held) -> Json:
    """An entry of /api/ps. Touches the disk."""
    entry = listed(name, held.service.path, held)
    del entry["modified_at"]
    left = held.keeps if held.stack is not None else math.inf
    gone = time.time() + min(_FOR_EVER, max(0.0, held.used_at + left - time.monotonic()))
    more = {"expires_at": timestamp(gone), "size_vram": 0, "context_length": held.service.scheduler.context}
    return {**entry, "size": held.service.model.info.file_bytes, **more}


def shown(path: Path, held: Held | None) -> Json:
    """The answer to /api/show. Opens a model that is not in memory, for a moment. Raises RbeError."""
    if held is not None:
        return _shown(held.service.model, path, held.service.template)
    with Model.open(path, verify=False) as model:
        return _shown(model, path, template_of(model))


def _shown(model: Model, path: Path, template: object) -> Json:
    metadata, info = model.metadata, model.info
    family = str(metadata.get("architecture", ""))
    source = metadata.get("chat_template", "")
    license_text = metadata.get("license", "")
    return {
        "license": license_text if isinstance(license_text, str) else "",
        "modelfile": "",
        "parameters": "",
        "template": source if isinstance(source, str) else "",
        "modified_at": timestamp(file_facts(path)[0]),
        "details": _details(model),
        "model_info": {
            "general.architecture": family,
            "general.basename": str(metadata.get("name", "")),
            "general.parameter_count": info.parameters,
            f"{family}.block_count": info.layers,
            f"{family}.context_length": info.context,
            f"{family}.embedding_length": info.width,
            f"{family}.vocab_size": info.vocabulary,
        },
        "capabilities": _capabilities(model, template),
    }


def _capabilities(model: Model, template: object) -> list[str]:
    info = model.encoder_info
    found = ["embedding"] if info.embeds else []
    if info.is_encoder:
        return found
    found = ["completion", *found]
    if model.encoder_decoder is None:  # tools work with every template: tools_in_words.py
        found.insert(1, "tools")
    if middle_tokens(model) is not None:
        found.append("insert")
    if isinstance(template, ChatTemplate) and template.knows_thoughts:
        found.append("thinking")
    return found


def _details(model: EngineModel | None) -> Json:
    details: Json = {"parent_model": "", "format": "rbe", "family": "", "families": None}
    if model is None:
        return {**details, "parameter_size": "", "quantization_level": ""}
    family = str(model.metadata.get("architecture", ""))
    details |= {"family": family, "families": [family]}
    size, bits = f"{model.info.parameters / 1e6:.2f}M", f"{model.info.bits_per_weight:.2f} bits"
    return {**details, "parameter_size": size, "quantization_level": bits}
