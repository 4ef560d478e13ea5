"""The full-screen chat client, `rbe chat`. Only this folder imports Textual.

A file may import those above it in this table, and no others of this folder (`tests/tui/test_client_files.py`):

| file | what it knows |
|---|---|
| `room` | whether a model from the hub fits onto the disk and into memory |
| `settings` | what a person sets, as a value |
| `rates` | how fast each model answered here last |
| `start` | what the command line says, as a value |
| `turns` | lists of messages, counted in turns |
| `power` | the power mode and what each one loses, in words |
| `commands` | what may be written instead of a message: `/new` and the others |
| `attachments` | text files that a message brings along |
| `clipboard` | where a text that is copied goes |
| `engine` | the model on its own thread: questions in, pieces of text and an outcome out |
| `open_chat` | the conversation on the screen, and how it reaches the store |
| `kept_states` | what the engine had read of a conversation, kept on the disk |
| `catalogue` | what a model's file takes |
| `messages` | what a screen asks of the app: typed messages |
| `widgets` | parts of a screen; they post messages and know no screen |
| `screens` | one file a screen; they know widgets and the files above, never the app |
| `themes` | the client's own colours |
| `frame` | the part of the application that holds for the whole run: texts, settings, colours, Ctrl-C |
| `conversing` | which conversation is open, with which model |
| `app` | the application: opens screens, and does what they ask for |
| `run` | opens the store, runs the application |

Down the table go calls and values: the app makes a screen with what it needs, and calls its methods. Up go messages
and answers: a widget or a screen posts a typed `Message`, a dialog is dismissed with a typed value. Everything runs on
the thread of the event loop unless its docstring says otherwise.
"""
