"""Finds the chat form of a template, and proves it: on each of many conversations the C library writes by the form the
bytes that Jinja writes, marks included, or refuses.

What a template writes between two messages is taken from its output for a short conversation. What it does with
contents is tried. Then the form is compared on all probes (chat_probes), and steps that differ are left out of it.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from rbe_edge.errors import TemplateError
from rbe_edge.format.metadata import MetadataValue
from rbe_edge.packing import chat_probes
from rbe_edge.packing.chat_form import (
    MOST_NEVER,
    ROLES,
    TRIMS,
    ChatForm,
    Step,
    escaped,
    refusal,
    style_of,
    template_hash,
    written,
)
from rbe_edge.packing.chat_probes import Conversation, Literals, conversation, literals_of
from rbe_edge.runtime.chat_template import ChatTemplate
from rbe_edge.runtime.marked_text import for_tokenizer, unmark

MAX_SECONDS = 600.0
"""For one proof, so that a hostile template ends. Published ones take 1 to 20 seconds."""

N_FEW = 60  # random conversations among the basic probes

_BOS, _EOS = "<sentinel-bos>", "<sentinel-eos>"
_SENTINELS = {"bos_token": _BOS, "eos_token": _EOS}  # so that they are told from what the template writes itself
_SPACED = (" \n\u2003 zq \n\u2003\n ", "\n\n zq\n \n", "\n zq \n", "\u00a0zq\u00a0")

Edge = tuple[str, str]

#: All that an ordinary conversation without a system message takes.
_CORE: tuple[Edge, ...] = (("start", "user"), ("user", "assistant"), ("assistant", "user"), ("user", "prompt"))
#: What a form may have besides; what stands together is of use together alone. The last but one is: in any order.
_SYSTEM = (("start", "system"), ("system", "user"))
_MORE: tuple[tuple[Edge, ...], ...] = (
    _SYSTEM, (("assistant", "prompt"),), (("user", "end"),), (("assistant", "end"),),
    (("user", "user"), ("assistant", "assistant"), ("system", "system"), ("start", "assistant"),
     ("system", "assistant"), ("user", "system"), ("assistant", "system"), ("system", "prompt")),
    (("system", "end"),),
)  # fmt: skip


@dataclass(frozen=True)
class Probe:
    """A conversation. end: `prompt` with a generation prompt, `end` without. is_basic: one of the few that stand for
    all where contents do not matter."""

    messages: Conversation
    end: str
    is_basic: bool

    @functools.cached_property
    def edges(self) -> frozenset[Edge]:
        """The steps that it takes."""
        return _edges_of(self.messages, self.end)


def chat_form(metadata: Mapping[str, MetadataValue], tell: Callable[[], object] = lambda: None) -> str | None:
    """The metadata `chat_form` of a file with this metadata: the proven form of its template, or why there is none.

    None where the C library knows the template by itself, or the file has no template. Takes a few seconds. tell: is
    called again and again meanwhile; what it raises stops the work.
    """
    template = metadata.get("chat_template")
    if not isinstance(template, str) or style_of(template) is not None:
        return None
    tokens: dict[str, str] = {}
    for name in _SENTINELS:
        token = metadata.get(name)
        if isinstance(token, str):
            tokens[name] = token
    try:
        return str(form_of(template, tokens, tell))
    except TemplateError as error:
        return refusal(template, str(error))


def form_of(template: str, special_tokens: Mapping[str, str], tell: Callable[[], object] = lambda: None) -> ChatForm:
    """The form of a template, proven. special_tokens: `bos_token` and `eos_token`, as far as there are. Raises
    TemplateError where there is none."""
    named = {name: text for name, text in _SENTINELS.items() if name in special_tokens}
    if any("\ud800" <= character <= "\udfff" for character in template):
        raise TemplateError("it holds half of a surrogate pair")
    subject = _Subject(template, named, tell)  # refuses what is malformed or too large
    literals = literals_of(template)
    form = _Search(subject, literals).run()
    rest = _Subject(template, special_tokens, tell)
    different = rest.different(form, [probe for probe in _probes(literals, special_tokens) if probe.is_basic])
    if different:
        raise TemplateError(rest.told(form, different[0]))
    return form


def _probes(literals: Literals, special_tokens: Mapping[str, str]) -> list[Probe]:
    """Fewer are needed without a generation prompt, and with the file's own special tokens: neither changes what is
    done with contents."""
    bos, eos = special_tokens.get("bos_token", "<s>"), special_tokens.get("eos_token", "</s>")
    few = dict.fromkeys(chat_probes.structures(literals))
    few |= dict.fromkeys(chat_probes.drawn(literals, bos, eos, N_FEW))
    every = few | dict.fromkeys(chat_probes.edges(bos, eos))
    every |= dict.fromkeys(chat_probes.asking(literals))
    every |= dict.fromkeys(chat_probes.drawn(literals, bos, eos))
    probes = [Probe(messages, "prompt", messages in few) for messages in every]
    return probes + [Probe(messages, "end", messages in few) for messages in few]


def _edges_of(messages: Conversation, end: str) -> frozenset[Edge]:
    return frozenset(itertools.pairwise(["start", *(message.role for message in messages), end]))


class _Subject:
    """A template with its special tokens: what Jinja and the C library write of a conversation."""

    def __init__(self, template: str, special_tokens: Mapping[str, str], tell: Callable[[], object]) -> None:
        self._template = template
        self._special_tokens = special_tokens
        self._tell = tell
        self._deadline = time.monotonic() + MAX_SECONDS
        self._known: dict[tuple[Conversation, str], str | None] = {}
        self.hash = template_hash(template)
        self._by_end = {
            "prompt": ChatTemplate(template, special_tokens),
            "end": ChatTemplate("{% set add_generation_prompt = false %}\n" + template, special_tokens),
        }

    def marked(self, messages: Conversation, end: str) -> str | None:
        """As render_marked(); None where the template refuses."""
        key = (messages, end)
        if key not in self._known:
            self._tell()
            if time.monotonic() > self._deadline:
                raise TemplateError(f"a proof takes more than {MAX_SECONDS:g} seconds")
            try:
                self._known[key] = self._by_end[end].render_marked(messages)
            except TemplateError:
                self._known[key] = None
        return self._known[key]

    def jinja(self, messages: Conversation, end: str) -> bytes | None:
        marked = self.marked(messages, end)
        return None if marked is None else for_tokenizer(marked).encode("utf-8", "surrogateescape")

    def native(self, form: ChatForm, messages: Conversation, end: str) -> bytes | None:
        try:
            return written(self._template, str(form), self._special_tokens, messages, end == "prompt")
        except TemplateError:
            return None

    def equal(self, form: ChatForm, probes: Iterable[Conversation], end: str = "prompt") -> bool:
        return all(self.native(form, probe, end) == self.jinja(probe, end) for probe in probes)

    def different(self, form: ChatForm, probes: Iterable[Probe], new: frozenset[Edge] = frozenset()) -> list[Probe]:
        """The probes of which the form writes something else than Jinja. new: of those that take one of these steps;
        none: of all."""
        found = []
        for probe in probes:
            if probe.edges <= form.steps.keys() and (not new or new & probe.edges):
                native = self.native(form, probe.messages, probe.end)
                if native is not None and native != self.jinja(probe.messages, probe.end):
                    found.append(probe)
        return found

    def told(self, form: ChatForm, probe: Probe) -> str:
        """For people: what is different."""
        messages, end = probe.messages, probe.end
        jinja, native = self.jinja(messages, end), self.native(form, messages, end)
        said = ", ".join(f"{message.role} {message.content!r}" for message in messages)
        if jinja is None:
            return f"it refuses what a form would write: {said}"
        assert native is not None
        at = 0
        while jinja[at : at + 1] == native[at : at + 1]:
            at += 1
        here = slice(max(at - 8, 0), at + 24)
        parts = [part[here].replace(b"\xff", b"").decode("utf-8", "replace") for part in (jinja, native)]
        return f"it writes {parts[0]!r} where a form writes {parts[1]!r}: {said}"


class _Search:
    """Finds the form of one template."""

    def __init__(self, subject: _Subject, literals: Literals) -> None:
        self._subject = subject
        self._literals = literals
        self._probes = _probes(literals, _SENTINELS)
        self._form = ChatForm(template_hash=subject.hash)

    def run(self) -> ChatForm:
        """Raises TemplateError where not even ordinary conversations can be proven."""
        for edge in _CORE:
            text = self._between(edge)
            if text is None:
                raise TemplateError("it refuses messages of text, or writes them otherwise than one behind the other")
            self._form = self._form.with_step(*edge, Step(text, "as-is" if edge[1] in ROLES else ""))
        for edge in _CORE:
            self._form = self._with_contents(self._form, edge)
        self._form = self._with_thoughts(self._form)
        self._form, left = self._without_words(self._form, frozenset())
        if left:
            raise TemplateError(self._subject.told(self._form, left[0]))
        for edges in _MORE:
            self._try(edges)
        return self._form

    def _try(self, edges: Sequence[Edge]) -> None:
        """Adds steps to the form, if they are proven."""
        form = self._form
        for edge in edges:
            text = self._between(edge)
            if text is None:
                return
            form = form.with_step(*edge, Step(text, "as-is" if edge[1] in ROLES else ""))
        if not all(_carried(edge) <= form.steps.keys() for edge in edges):
            return
        for edge in edges:
            form = self._with_contents(form, edge)
        if edges == _SYSTEM:  # what a person would miss
            form, left = self._without_words(form, frozenset(edges))
        else:
            left = self._subject.different(form, self._probes, frozenset(edges))
        if not left:
            self._form = form

    def _between(self, edge: Edge) -> str | None:
        """What the template writes between two contents, escaped; None where that cannot be told."""
        roles, place = _carrier(edge)
        end = edge[1] if edge[1] in ("prompt", "end") else "prompt"
        contents = [f"zq{i}qz" for i in range(len(roles))]
        output = self._subject.marked(conversation(roles, contents), end)
        if output is None:
            return None
        output = unmark(output)
        cuts = [0, *(output.find(content) for content in contents), len(output)]
        if -1 in cuts or cuts != sorted(cuts) or any(output.count(content) > 1 for content in contents):
            return None
        begin = cuts[place] + (len(contents[place - 1]) if place else 0)
        return escaped(output[begin : cuts[place + 1]]).replace(_BOS, "\\b").replace(_EOS, "\\e")

    def _with_contents(self, form: ChatForm, edge: Edge) -> ChatForm:
        """What is trimmed of the content behind a step, and what the step leaves out where nothing remains."""
        if edge[1] not in ROLES:
            return form
        roles, place = _carrier(edge)
        words = [f"zq{i}qz" for i in range(len(roles))]

        def with_content(content: str) -> Conversation:
            return conversation(roles, [*words[:place], content, *words[place + 1 :]])

        text = form.steps[edge].text
        for trim in TRIMS:
            tried = form.with_step(*edge, Step(text, trim))
            if self._subject.equal(tried, map(with_content, _SPACED)):
                form = tried
                break
        trim = form.steps[edge].trim
        blank = [with_content(content) for content in ("", " \n")]
        for at in range(len(text) + 1, -1, -1):
            optional = text if at > len(text) else text[:at] + "\\?" + text[at:]
            tried = form.with_step(*edge, Step(optional, trim))
            if self._subject.equal(tried, blank):
                return tried
        return form

    def _with_thoughts(self, form: ChatForm) -> ChatForm:
        for word in self._literals.asked:
            if len(word.strip()) < 3:
                continue
            contents = [f"a{word}\n \n b{word}\n\n zq \n\n", f"a {word}b", f"{word}", "zq"]
            probes = [conversation("uau", ["x", content, "x"]) for content in contents]
            if self._subject.equal(form, probes):
                continue
            for trim in TRIMS:
                tried = replace(form, thoughts=(word, trim))
                if self._subject.equal(tried, probes):
                    return tried
        return form

    def _without_words(self, form: ChatForm, new: frozenset[Edge]) -> tuple[ChatForm, list[Probe]]:
        """The form without the words with which the template does something of its own; and what is different still."""
        left = self._subject.different(form, self._probes, new)
        while left:
            counts: dict[str, int] = {}
            for probe in left:
                for word in self._literals.asked:
                    if _is_word(word) and any(word in message.content for message in probe.messages):
                        counts[word] = counts.get(word, 0) + 1
            if not counts or len(form.never) == MOST_NEVER:
                break
            form = replace(form, never=(*form.never, max(counts, key=lambda word: counts[word])))
            left = [one for one in left if self._subject.native(form, one.messages, one.end) is not None]
        return form, left


def _is_word(text: str) -> bool:
    """Whether a message can do without it: not a word of a language."""
    return len(text.strip()) >= 3 and text == text.strip() and any(not character.isalnum() for character in text)


def _carried(edge: Edge) -> frozenset[Edge]:
    """The steps of the conversation that shows what a step is."""
    roles, _ = _carrier(edge)
    return _edges_of(conversation(roles, [""] * len(roles)), "end" if edge[1] == "end" else "prompt")


def _carrier(edge: Edge) -> tuple[str, int]:
    """Roles of a conversation that takes a step, and the number of the step in it."""
    before, behind = edge
    first = {"start": "", "system": "s", "user": "u", "assistant": "ua"}[before]
    return first + {"system": "su", "user": "u", "assistant": "au", "prompt": "", "end": ""}[behind], len(first)
