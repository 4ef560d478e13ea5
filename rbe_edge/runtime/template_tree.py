"""A template before it is compiled: its size is bounded, its own words are marked, and the budget is put into it.

Compiling takes a time that grows faster than the template, and cannot be stopped inside Python's own compiler. So what
reaches it is bounded by counts. The largest of 476 published templates has 20,000 characters, 2,700 tokens, 1,400 nodes
on 29 levels, 89 conditions and 40 loops and macros (tools/published_templates.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jinja2 import nodes

from rbe_edge.runtime.template_budget import LimitError

MAX_SOURCE = 100_000  # characters
MAX_TOKENS = 10_000
_MAX_LEVELS = 100
_MAX_CONDITIONS = 400
_MAX_SCOPES = 250  # what becomes a function or a frame

_SCOPES = (nodes.Macro, nodes.CallBlock, nodes.FilterBlock, nodes.Block, nodes.For, nodes.With, nodes.AssignBlock)


def check_tree(tree: nodes.Template) -> None:
    """LimitError for a template that is too large."""
    conditions = scopes = 0
    pending: list[tuple[nodes.Node, int]] = [(tree, 0)]
    while pending:
        node, level = pending.pop()
        conditions += isinstance(node, nodes.If)
        scopes += isinstance(node, _SCOPES)
        if isinstance(node, nodes.EvalContextModifier):
            raise LimitError("it escapes what it writes as HTML")
        if level > _MAX_LEVELS:
            raise LimitError(f"it is nested more than {_MAX_LEVELS} deep")
        if conditions > _MAX_CONDITIONS:
            raise LimitError(f"it has more than {_MAX_CONDITIONS} conditions")
        if scopes > _MAX_SCOPES:
            raise LimitError(f"it has more than {_MAX_SCOPES} loops, macros and blocks")
        pending.extend((child, level + 1) for child in node.iter_child_nodes())


def transform(node: nodes.Node, keep: Callable[[str], bool]) -> None:
    """Puts the budget into a parsed template, in place and bottom up. keep: remembers a text of the template's own, and
    says whether it has marks. The filters that this writes have names with a blank, which no template can have."""
    for field, value in list(node.iter_fields()):
        if isinstance(value, nodes.Node):
            transform(value, keep)
            setattr(node, field, _wrap(value, keep))
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, nodes.Node):
                    transform(item, keep)
                    value[index] = _wrap(item, keep)
    if isinstance(node, nodes.For):
        node.iter = _filtered(node.iter, "each step")
    elif isinstance(node, nodes.Output):
        node.nodes = [
            _filtered(_own(n.data, n.lineno, keep) if isinstance(n, nodes.TemplateData) else n, "the output")
            for n in node.nodes
        ]
    elif isinstance(node, (nodes.Call, nodes.Filter, nodes.Test)) and node.dyn_args is not None:
        node.dyn_args = _filtered(node.dyn_args, "list")


def _filtered(node: Any, name: str) -> nodes.Expr:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _own(value: str, lineno: int, keep: Callable[[str], bool]) -> nodes.Expr:
    constant = nodes.Const(value, lineno=lineno)
    return _filtered(constant, "own text") if keep(value) else constant


def _wrap(node: nodes.Node, keep: Callable[[str], bool]) -> nodes.Node:
    """The node with the budget around it, where it makes a value or takes time."""
    if isinstance(node, nodes.Const) and isinstance(node.value, str):
        return _own(node.value, node.lineno, keep)
    if isinstance(node, nodes.Concat):
        return _filtered(nodes.List(node.nodes, lineno=node.lineno), "as one text")
    if isinstance(node, (nodes.List, nodes.Dict)) or (isinstance(node, nodes.Tuple) and node.ctx == "load"):
        return _filtered(node, "a value")
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice) and node.ctx == "load":
        return _filtered(node, "a value")
    if isinstance(node, nodes.Compare) and not _is_short(node):
        return _filtered(node, "a comparison")
    return node


def _is_short(node: nodes.Compare) -> bool:
    """Whether it only asks if something is a text or number that the template holds."""
    return all(operand.op in ("eq", "ne") and _is_constant(operand.expr) for operand in node.ops)


def _is_constant(node: nodes.Expr) -> bool:
    return isinstance(node, nodes.Const) or (isinstance(node, nodes.Filter) and node.name == "own text")
