"""Starting the client: opens the store, runs the application, and gives the terminal back."""

from __future__ import annotations

from rbe_edge.store import places
from rbe_edge.store.conversations import ConversationStore, StoreError
from rbe_edge.store.states import StateFiles
from rbe_edge.tui.app import Client
from rbe_edge.tui.engine import Engine
from rbe_edge.tui.start import Start


def run_client(start: Start, *, verify: bool = True, template: str | None = None) -> int:
    """The exit code. Raises what kept the model from opening. Conversations that cannot be opened are left as they are,
    and the chat goes on without them."""
    warning = ""
    try:
        store = ConversationStore(places.conversations_file())
    except StoreError as error:
        warning = f"{error}. This chat is not saved; F5 exports it."
        store = ConversationStore(None)
    with store:
        states = StateFiles(None if warning else places.states_directory())
        client = Client(start, store, Engine(verify=verify, template=template), states=states, warning=warning)
        client.run()
        if client.failure is not None:
            raise client.failure
        return client.return_code or 0
