"""What a screen posts for the app to do. A screen that posts one knows nothing of who takes it."""

from __future__ import annotations

from dataclasses import dataclass

from textual.message import Message
from textual.notifications import SeverityLevel


@dataclass
class Told(Message):
    """A text for the person, which goes by itself after `timeout` seconds. It is never markup."""

    text: str
    severity: SeverityLevel = "information"
    timeout: float = 4


@dataclass
class Answered(Message):
    """An answer has ended. rate: in tokens/s, 0 where too little was said to tell. whole: it was neither stopped nor
    ended by an error."""

    rate: float
    whole: bool


@dataclass
class ConversationWanted(Message):
    """A stored conversation, by its id."""

    conversation: int


@dataclass
class SidebarWanted(Message):
    """Whether the conversations are shown beside the open one, where there is room."""

    shown: bool


@dataclass
class SystemWanted(Message):
    """What the model is told first in the open conversation."""

    text: str


@dataclass
class ModeWanted(Message):
    """A power mode by its label, or auto."""

    label: str


class LeaveWanted(Message):
    """The end of the client."""


class NewWanted(Message):
    """A new conversation."""


class ConversationsWanted(Message):
    """The list of conversations."""


class ExportWanted(Message):
    """A file of the open conversation."""


class SettingsWanted(Message):
    """The settings, to be changed."""


class ModelsWanted(Message):
    """The list of models, to choose another."""


class PowerWanted(Message):
    """The list of power modes, to choose one."""


class KeysWanted(Message):
    """The list of keys."""


#: By the name of what is wanted.
WANTED: dict[str, type[Message]] = {
    "bye": LeaveWanted,
    "new": NewWanted,
    "conversations": ConversationsWanted,
    "export": ExportWanted,
    "settings": SettingsWanted,
    "models": ModelsWanted,
    "power": PowerWanted,
    "keys": KeysWanted,
}
