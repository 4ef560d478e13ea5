"""Rules for the tensors of experts (architecture.py), with E for the number of the expert."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from rbe_edge.sources.architecture import Rule

_EACH = ".E."  # in the names of rules: the number of the expert
_DENSE = re.compile(r"layers\.N\.feed_forward\.(gate|up|down)(\.bias)?$")
_SHARED = "layers.N.shared."
_WITH_EXPERTS = ("layers.N.experts.", _SHARED)


def expert_rules(router: str, expert: str, names: tuple[str, str, str]) -> tuple[Rule, ...]:
    """Of a layer's router, and of the gate, up and down of each expert: `expert`, with E for its number, and a name."""
    gate, up, down = (f"{expert}.{name}.weight" for name in names)
    return (
        Rule("layers.N.experts.router", router, "experts", "width", "router"),
        Rule("layers.N.experts.E.gate", gate, "expert", "width"),
        Rule("layers.N.experts.E.up", up, "expert", "width"),
        Rule("layers.N.experts.E.down", down, "width", "expert"),
    )


def shared_rules(shared: str, names: tuple[str, str, str], share: str) -> tuple[Rule, ...]:
    """Of the part of a layer with experts that every token goes through, which begins with `shared`, and of the number
    that says how much it counts."""
    gate, up, down = (f"{shared}.{name}.weight" for name in names)
    return (
        Rule("layers.N.shared.gate", gate, "shared", "width"),
        Rule("layers.N.shared.up", up, "shared", "width"),
        Rule("layers.N.shared.down", down, "width", "shared"),
        Rule("layers.N.shared.share", share, "one", "width", "router"),
    )


def rules_of_layer(rules: Iterable[Rule], n_experts: int, shared: int) -> list[Rule]:
    """Those that hold for a layer with so many experts; 0: for one without. shared: the width of the part beside them,
    0 where there is none. The tensors of an expert follow one another."""
    found, of_each = [], []
    for rule in rules:
        if _EACH in rule.target:
            of_each.append(rule)
        elif n_experts and _DENSE.match(rule.target):
            continue
        elif rule.target.startswith(_SHARED) and not shared:
            continue
        elif n_experts or not rule.target.startswith(_WITH_EXPERTS):
            found.append(rule)
    for number in range(n_experts):
        place = f".{number}."
        for rule in of_each:
            target, source = rule.target.replace(_EACH, place), rule.source.replace(_EACH, place)
            found.append(replace(rule, target=target, source=source))
    return found
