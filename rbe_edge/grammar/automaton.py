"""Follows a grammar byte by byte: a pushdown automaton whose states are made when they are first reached.

A state is the set of all stacks that the bytes so far can have led to. A stack lists what must still come, the next
cell first. Cells and states are shared where they are equal, so that a state is a number and its successors are a row
of a table, which numpy reads for many tokens at once (Constraint). A stack beyond a depth may only become shorter, so
that recursive grammars do not nest without end.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from rbe_edge.grammar.grammar import Chain, Choice, GrammarError, Literal, Node, OneOf, Reference, Repeat

DEAD = -1  # no continuation fits
REACH = 16  # bytes, of near()
_MAX_STACKS = 2000  # of one state; more come only of alternatives nested in alternatives
_MAX_STATES = 8192  # a row takes 1 KiB
# Cells of a stack; an array in an array takes 2, an object 3. Deeper texts would be refused by common readers of JSON.
_MAX_DEEP = 200


class _Cell:
    """A node of which `index` units are done, and what comes after it. shortest: bytes of the shortest end. depth: of
    the stack."""

    __slots__ = ("depth", "index", "node", "rest", "shortest")

    def __init__(self, node: Node, index: int, rest: _Cell | None) -> None:
        self.node, self.index, self.rest = node, index, rest
        self.shortest: float = node.remaining(index) + (rest.shortest if rest is not None else 0)
        self.depth: int = rest.depth + 1 if rest is not None else 1


_Stacks = frozenset["_Cell | None"]  # None: the text may end here


class Automaton:
    """One thread at a time. The grammar has been measured."""

    def __init__(self, grammar: Node, max_work: float = math.inf) -> None:
        """max_work: the most cells that may be examined; work_left: how many of them remain. Raises GrammarError, as
        all other methods, where the cells or the alternatives at one place are too many."""
        self.work_left = max_work
        start = _Cell(grammar, 0, None)
        self._restart()
        self._cells[grammar, 0, None] = start
        self.start = self._state(self._closure([start]))

    def _restart(self) -> None:
        self._cells: dict[tuple[Node, int, _Cell | None], _Cell] = {}
        self._near: dict[_Cell | None, _Cell | None] = {None: None}
        self._numbers: dict[_Stacks, int] = {}
        self._stacks: list[_Stacks] = []
        self._known = np.zeros(64, dtype=bool)
        self._table = np.full((64, 256), DEAD, dtype=np.int32)

    @property
    def full(self) -> bool:
        """It has so many states that another automaton should replace it."""
        return len(self._stacks) >= _MAX_STATES

    def another(self, state: int) -> tuple[Automaton, int]:
        """A new automaton of the same grammar that has this state alone, and the number of the state in it. It has no
        start."""
        made = object.__new__(Automaton)
        made.work_left = self.work_left
        made._restart()
        return made, made._state(self._stacks[state])

    def step(self, state: int, byte: int) -> int:
        """The state after a byte, or DEAD."""
        return int(self._row(state)[byte])

    def run(self, state: int, text: bytes) -> int:
        for byte in text:
            if state == DEAD:
                break
            state = self.step(state, byte)
        return state

    def accepts(self, state: int) -> bool:
        """Whether the text may end here."""
        return None in self._stacks[state]

    def ended(self, state: int) -> bool:
        """Whether the text must end here."""
        return self._stacks[state] == {None}

    def shortest(self, state: int) -> float:
        """Bytes of the shortest end."""
        return min(0 if cell is None else cell.shortest for cell in self._stacks[state])

    def ending(self, state: int, limit: int) -> bytes:
        """The first `limit` bytes of a shortest end."""
        text = bytearray()
        while len(text) < limit and not self.accepts(state):
            best = min((cell for cell in self._stacks[state] if cell is not None), key=lambda cell: cell.shortest)
            node = best.node
            byte = node.text[best.index] if isinstance(node, Literal) else node.allowed[0]  # type: ignore[attr-defined]
            text.append(byte)
            state = self.step(state, byte)
        return bytes(text)

    def near(self, state: int) -> int:
        """A state for which the same texts of up to REACH bytes fit: counts that no such text can bring to a bound are
        made equal. So the characters of a text with a maximal length share states."""
        return self._state(frozenset(map(self._near_cell, self._stacks[state])))

    def _near_cell(self, cell: _Cell | None) -> _Cell | None:
        path: list[_Cell] = []  # not by recursion: stacks may be deep
        while cell not in self._near:
            assert cell is not None
            path.append(cell)
            cell = cell.rest
        found = self._near[cell]
        for cell in reversed(path):
            node, index = cell.node, cell.index
            if isinstance(node, Repeat):
                if index < node.low - REACH:
                    index = node.low - REACH - 1
                elif node.high is not None and index >= node.low and node.high - index > REACH:
                    index = node.low
            found = self._near[cell] = self._cell(node, index, found)
        return found

    def successors(self, states: npt.NDArray[np.int32], data: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
        """The state after one byte, for many states and bytes of equal shape; DEAD where nothing fits."""
        reached = np.zeros(len(self._stacks), dtype=bool)
        reached[states] = True
        for state in np.flatnonzero(reached & ~self._known[: len(reached)]):
            self._row(int(state))
        found: npt.NDArray[np.int32] = self._table[states, data]
        return found

    # ---- states ----

    def _state(self, stacks: _Stacks) -> int:
        number = self._numbers.get(stacks)
        if number is None:
            number = self._numbers[stacks] = len(self._stacks)
            self._stacks.append(stacks)
            if number == len(self._known):
                self._known = np.concatenate([self._known, np.zeros(number, dtype=bool)])
                self._table = np.concatenate([self._table, np.full((number, 256), DEAD, dtype=np.int32)])
        return number

    def _row(self, state: int) -> npt.NDArray[np.int32]:
        if not self._known[state]:
            takers: list[list[_Cell | None]] = [[] for _ in range(256)]
            for cell in self._stacks[state]:
                if cell is None:
                    continue
                node = cell.node
                if isinstance(node, Literal):
                    done = cell.index + 1
                    after = self._cell(node, done, cell.rest) if done < len(node.text) else cell.rest
                    takers[node.text[cell.index]].append(after)
                else:
                    assert isinstance(node, OneOf)
                    for byte in node.allowed:
                        takers[byte].append(cell.rest)
            made: dict[tuple[_Cell | None, ...], int] = {}
            successors = np.full(256, DEAD, dtype=np.int32)
            for byte, cells in enumerate(takers):
                if cells:
                    key = tuple(cells)
                    if key not in made:
                        made[key] = self._state(self._closure(cells))
                    successors[byte] = made[key]
            self._table[state] = successors
            self._known[state] = True
        row: npt.NDArray[np.int32] = self._table[state]
        return row

    def _cell(self, node: Node, index: int, rest: _Cell | None) -> _Cell:
        key = (node, index, rest)
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = _Cell(node, index, rest)
        return cell

    def _closure(self, cells: list[_Cell | None]) -> _Stacks:
        """The stacks, their first cells opened until each takes a byte."""
        ready: set[_Cell | None] = set()
        seen: set[_Cell | None] = set()
        pending = list(cells)
        while pending:
            cell = pending.pop()
            if cell in seen:
                continue
            seen.add(cell)
            if cell is None or isinstance(cell.node, (OneOf, Literal)):
                ready.add(cell)
            elif not math.isinf(cell.shortest):  # a way that never ends leads nowhere
                self._open(cell, pending)
            self.work_left -= 1
            if len(seen) > 4 * _MAX_STACKS or len(ready) > _MAX_STACKS or self.work_left < 0:
                raise GrammarError("it has too many alternatives at once")
        return frozenset(ready)

    def _open(self, cell: _Cell, pending: list[_Cell | None]) -> None:
        node, index, rest = cell.node, cell.index, cell.rest
        if isinstance(node, Chain):
            if not node.items:
                pending.append(rest)
                return
            after = rest if index + 1 == len(node.items) else self._cell(node, index + 1, rest)
            pending.append(self._cell(node.items[index], 0, after))
        elif isinstance(node, Choice):
            deep = cell.depth > _MAX_DEEP
            options = [one for one in node.options if one.shortest == node.shortest] if deep else node.options
            pending.extend(self._cell(option, 0, rest) for option in options)
        elif isinstance(node, Repeat):
            if index >= node.low:
                pending.append(rest)
                if cell.depth > _MAX_DEEP:
                    return
            if node.high is None:
                pending.append(self._cell(node.item, 0, self._cell(node, min(index + 1, node.low), rest)))
            elif index < node.high:
                after = rest if index + 1 == node.high else self._cell(node, index + 1, rest)
                pending.append(self._cell(node.item, 0, after))
        elif isinstance(node, Reference) and node.target is not None:
            pending.append(self._cell(node.target, 0, rest))
