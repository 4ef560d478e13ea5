"""How far a model is from its source on windows of a text, and the gradient of that by the numbers that are tuned."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rbe_edge.errors import PackError
from rbe_edge.packing.dense_copy import DenseCopy
from rbe_edge.progress import Report
from rbe_edge.runtime.gradient_values import Gradient
from rbe_edge.runtime.gradients import Gradients
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.session import Session
from rbe_edge.tuning.parameters import Parameters, Values

FloatArray = npt.NDArray[np.float32]

_PIECE_MACS = (
    1 << 32
)  # of the head between two looks at Ctrl-C, a third of a second of two AVX2 cores with its way back
_LEAST_PIECE = 32  # tokens: reading the weights would take longer than the products


class SourceStates:
    """The source's hidden states behind its last layer, of windows by number: computed when first asked for, and kept
    in a nameless file. Four bytes for each value, stream_width values for each token."""

    def __init__(self, source: Model, windows: Sequence[Sequence[int]], directory: Path, threads: int) -> None:
        self._windows = windows
        self._layers = source.info.layers
        self._shape = (len(windows[0]), source.stream_width)
        self._slots: dict[int, int] = {}  # where in the file those of a window are
        with ExitStack() as stack:
            self._session = stack.enter_context(_session(source, len(windows[0]), threads))
            self._file = stack.enter_context(tempfile.TemporaryFile(dir=directory, buffering=0))
            self._stack = stack.pop_all()

    def __enter__(self) -> SourceStates:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def of(self, number: int) -> FloatArray:
        """float32 [tokens][stream_width]. Raises PackError where there is no room for the file."""
        hidden: FloatArray
        n_bytes = 4 * self._shape[0] * self._shape[1]
        if number in self._slots:
            hidden = np.empty(self._shape, np.float32)
            self._file.seek(self._slots[number] * n_bytes)
            if self._file.readinto(hidden.data.cast("B")) != n_bytes:
                raise PackError("hidden states of the text cannot be read again from the temporary directory")
            return hidden
        hidden = self._session.embed(self._windows[number])
        for layer in range(self._layers):
            self._session.run_layers(layer, 1, hidden)
        try:
            self._file.seek(len(self._slots) * n_bytes)
            written = self._file.write(hidden.data.cast("B"))
        except OSError as error:
            raise PackError(
                f"no room for hidden states in the temporary directory ({error.strerror}); set TMPDIR to another place"
            ) from error
        if written != n_bytes:
            raise PackError("no room for hidden states in the temporary directory; set TMPDIR to another place")
        self._slots[number] = len(self._slots)
        return hidden


def _session(model: Model, size: int, threads: int) -> Session:
    return model.session(context=size, threads=threads, pass_tokens=size, kv="f32")


class Distillation:
    """A dense model beside its source, on windows of one length. For one thread.

    Memory: the hidden states of one window before every layer, and what gradients of one layer take.
    """

    def __init__(
        self, session: Session, gradients: Gradients, source: Model, states: SourceStates,
        windows: Sequence[Sequence[int]], copy: DenseCopy,
    ) -> None:  # fmt: skip
        """Use distillation()."""
        self._session, self._gradients = session, gradients
        self._source, self._source_states = source, states
        self._windows = windows
        self._copy = copy
        info = gradients.model.info
        fitting = _PIECE_MACS // (info.vocabulary * info.width) // _LEAST_PIECE * _LEAST_PIECE
        self._piece = max(fitting, _LEAST_PIECE)
        self._hidden = np.empty((info.layers + 1, len(windows[0]), gradients.model.stream_width), np.float32)

    def units(self, n_windows: int) -> float:
        """Weights times tokens of so many windows."""
        return float(n_windows * len(self._windows[0]) * sum(self._copy.weights.values()))

    def divergence(self, numbers: Sequence[int], report: Report) -> float:
        """The mean KL(source || model) of the windows, in nats per token. report: counts windows."""
        total = 0.0
        for done, number in enumerate(numbers):
            expected, hidden = self._source_states.of(number), self._run(number)
            for piece in self._pieces():
                found = self._gradients.head_toward(hidden[piece], self._source, expected[piece], gradient=False)
                total += float(np.add.reduce(found.kl))
            report(done + 1, len(numbers))
        return total / (len(self._windows[0]) * len(numbers))

    def gradient(self, numbers: Sequence[int], parameters: Parameters, report: Report) -> Values:
        """The gradient of that by the parameters, float64 [count]. report: counts layers and windows."""
        total = np.zeros(parameters.count)
        per_window = len(self._hidden)
        for done, number in enumerate(numbers):
            expected, hidden = self._source_states.of(number), self._run(number)

            def show(gradient: Gradient) -> None:
                parameters.add(total, gradient)

            d_hidden = np.empty_like(hidden)
            for piece in self._pieces():
                found = self._gradients.head_toward(hidden[piece], self._source, expected[piece], show=show).d_hidden
                assert found is not None
                d_hidden[piece] = found
            report(done * per_window + 1, len(numbers) * per_window)
            for layer in reversed(range(per_window - 1)):
                self._gradients.layer(layer, self._hidden[layer], d_hidden, show)
                report((done + 1) * per_window - layer, len(numbers) * per_window)
            if "layer_embedding" in self._copy.areas:
                self._gradients.layer_embeddings(self._windows[number], d_hidden, None, show)
            self._look_up(number, d_hidden[:, : self._gradients.model.info.width], parameters, total)
        return total / (len(numbers) * len(self._windows[0]))

    def _pieces(self) -> Iterator[slice]:
        """Of the tokens of a window, for the head."""
        size = len(self._windows[0])
        return (slice(start, min(start + self._piece, size)) for start in range(0, size, self._piece))

    def _run(self, number: int) -> FloatArray:
        """Hidden states before every layer; gives those behind the last one."""
        self._hidden[0] = self._session.embed(self._windows[number])
        for layer in range(len(self._hidden) - 1):
            self._hidden[layer + 1] = self._hidden[layer]
            self._session.run_layers(layer, 1, self._hidden[layer + 1])
        last: FloatArray = self._hidden[-1]
        return last

    def _look_up(self, number: int, d_hidden: FloatArray, parameters: Parameters, total: Values) -> None:
        """What embedding and positions gave of their rows."""
        metadata = self._gradients.model.metadata
        tokens = np.array(self._windows[number], np.intp)
        for name, rows in ("embedding", tokens), ("positions", np.arange(len(tokens))):
            if parameters.is_matrix(name):
                scale = metadata.get("embedding.scale", 1.0) if name == "embedding" else 1.0
                assert isinstance(scale, int | float)
                table = self._copy.read(name).reshape(-1, d_hidden.shape[1])
                parameters.add_rows(total, name, rows, d_hidden, table[rows] * np.float32(scale))


@contextmanager
def distillation(
    copy: DenseCopy, source: Model, windows: Sequence[Sequence[int]], threads: int
) -> Iterator[Distillation]:
    """Opens the copy, which may change between calls. windows: of one length."""
    size = len(windows[0])
    with (
        Model.open(copy.path, verify=False) as model,
        SourceStates(source, windows, copy.path.parent, threads) as states,
        _session(model, size, threads) as session,
        model.gradients(tokens=size, context=size, threads=threads, gains=True) as gradients,
    ):
        yield Distillation(session, gradients, source, states, windows, copy)
