"""What stands between the two texts of a pair, as a cross encoder reads them."""

from __future__ import annotations

from typing import Any

from rbe_edge.errors import TokenizerError
from rbe_edge.sources.json_file import read_json
from rbe_edge.sources.types import Source
from rbe_edge.terminal_text import one_line


def between_texts(source: Source) -> tuple[int, ...] | None:
    """Token ids, as the post-processor of a tokenizer.json says; None where nothing says it. Raises TokenizerError for
    a file that is not built as such."""
    path = source.directory / "tokenizer.json"
    if source.tokenizer is not None or not path.is_file():
        return None
    try:
        return _between(read_json(path, TokenizerError).get("post_processor"))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise TokenizerError(
            f"{path}: its post-processor is not built as usual ({one_line(repr(error), 120)}); download the file again"
        ) from None


def _between(entry: Any) -> tuple[int, ...] | None:
    kind = entry.get("type") if entry is not None else None
    if kind == "Sequence":
        found = [tokens for part in entry.get("processors") or [] if (tokens := _between(part)) is not None]
        return found[-1] if found else None
    if kind == "BertProcessing":
        return (int(entry["sep"][1]),)
    if kind == "RobertaProcessing":
        return (int(entry["sep"][1]),) * 2
    if kind != "TemplateProcessing":
        return None
    ids = {name: tuple(map(int, token["ids"])) for name, token in (entry.get("special_tokens") or {}).items()}
    pair = entry.get("pair") or []
    places = [at for at, item in enumerate(pair) if "Sequence" in item]
    if len(places) != 2:
        return None
    return tuple(token for item in pair[places[0] + 1 : places[1]] for token in ids[item["SpecialToken"]["id"]])
