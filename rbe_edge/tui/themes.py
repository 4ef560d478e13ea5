"""The client's own colours, dark and light, beside those of Textual."""

from __future__ import annotations

from textual.theme import Theme

from rbe_edge.tui.settings import DARK, LIGHT


def _variables(colour: str, background: str, bar: str) -> dict[str, str]:
    """Of the keys in the last line, of what is selected, and of scroll bars."""
    return {
        "footer-key-foreground": colour,
        "input-selection-background": f"{colour} 30%",
        "scrollbar": bar,
        "scrollbar-hover": colour,
        "scrollbar-active": colour,
        "scrollbar-background": background,
        "scrollbar-background-hover": background,
        "scrollbar-background-active": background,
        "scrollbar-corner-color": background,
    }


OWN = (
    Theme(
        name=DARK,
        primary="#e0a458",
        secondary="#6fb3a8",
        accent="#f2c572",
        foreground="#dcdfe4",
        background="#14171a",
        surface="#1b1f23",
        panel="#262b31",
        success="#8fbf7f",
        warning="#e5c07b",
        error="#e8796f",
        dark=True,
        variables=_variables("#e0a458", "#14171a", "#4a4335"),
    ),
    Theme(
        name=LIGHT,
        primary="#8a4f00",
        secondary="#1d6a62",
        accent="#b4540a",
        foreground="#23262a",
        background="#fbf9f4",
        surface="#f3f0e8",
        panel="#e6e1d5",
        success="#2f6b2f",
        warning="#8a5a00",
        error="#a3291f",
        dark=False,
        variables=_variables("#8a4f00", "#fbf9f4", "#cdbfa5"),
    ),
)
