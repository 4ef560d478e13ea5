"""Gradients of the engine against those of transformers in double precision, for every architecture and parameter."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tiny_llama_like
import tiny_models
from parity_cases import CASES, Case, reference_model
from test_logits import packed
from whole_gradient import whole_gradient

from rbe_edge import Model
from rbe_edge.runtime.gradients import NONE
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
import reference  # noqa: E402  (needs both)

TOLERANCE = 1e-4  # of the gradient's norm; about 1e-6 is usual


def labels_of(case: Case) -> list[int]:
    labels = [*case.tokens[1:], NONE]
    labels[5] = NONE  # one in the middle too
    return labels


def source_of(case: Case) -> Case:
    """Another model of the same shape, which the first is to become like."""
    return dataclasses.replace(case, name=f"{case.name}-source", model=dataclasses.replace(case.model, seed=2))


def loss_of(case: Case, model: Any, source: Any, window: int) -> Any:
    """Cross entropy with the labels, or the divergence from what a source predicts."""
    loss = torch.zeros((), dtype=torch.float64)
    for start in range(0, case.n_tokens, window):
        tokens, labels = case.tokens[start : start + window], labels_of(case)[start : start + window]
        logits = model(torch.tensor([tokens])).logits[0].double()
        if source is None:
            targets = torch.tensor([label if label != NONE else -100 for label in labels])
            loss = loss + torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
            continue
        with torch.no_grad():
            theirs = source(torch.tensor([tokens])).logits[0].double().log_softmax(-1)
        loss = loss + torch.nn.functional.kl_div(logits.log_softmax(-1), theirs, reduction="sum", log_target=True)
    return loss


def of_rate(model: Any, layer: int) -> npt.NDArray[np.float64]:
    """The gradient by the rates of a recurrent layer, of which the model learns the logarithm."""
    for name, parameter in model.named_parameters():
        if re.search(rf"\blayers\.{layer}\.\w+\.A_log$", name):
            found: npt.NDArray[np.float64] = (parameter.grad / parameter.exp()).detach().numpy()
            return found
    raise AssertionError(f"layer {layer} has no rates")


def expected(
    case: Case, directory: Path, window: int, toward: bool
) -> tuple[dict[str, npt.NDArray[np.float64]], float]:
    """Gradients by the names of the file's tensors: they are written as if they were weights, and read as these are."""

    def reference_of(one: Case, name: str) -> Any:
        small = dataclasses.replace(reference_model(one), seed=one.model.seed)
        return reference.load(tiny_models.write(small, directory / name)).double()

    model = reference_of(case, "reference")
    loss = loss_of(case, model, reference_of(source_of(case), "source-reference") if toward else None, window)
    loss.backward()
    found = {name: parameter.grad.float().numpy() for name, parameter in model.named_parameters()}
    kind = str(case.model.config["model_type"])
    bare = {
        tiny_llama_like.published(kind, name.removeprefix("transformer.").removeprefix("model.")): grad
        for name, grad in found.items()
    }
    weights = {}
    for name, shape in tiny_models.shapes(case.model).items():
        plain = name.removeprefix(case.model.prefix)
        if plain.endswith(("expert_bias", "layer_scalar", "A_log")):  # which are no parameters, or read as exponents
            weights[name] = np.zeros(shape, np.float32)
        elif not re.search(r"\.experts\.\d+\.|moe\.(input|output)_linear\.", plain):
            weights[name] = bare[plain]
    fused = {name: grad for name, grad in bare.items() if grad.ndim == 3}  # all experts of a layer
    weights |= {case.model.prefix + name: grad for name, grad in fused.items()}
    target = tiny_models.write(case.model, directory / "gradients")
    tiny_models.write_safetensors(target / "model.safetensors", weights)
    plan = plan_model(open_source(target))
    plus_one = case.model.config.get("text_config", case.model.config)["model_type"] in tiny_models.NORMS_PLUS_ONE
    read = {tensor.name: tensor.read().astype(np.float64) for tensor in plan.tensors}
    for tensor in plan.tensors:
        if plus_one and tensor.role == "norm" and not tensor.name.endswith("gated_norm"):
            read[tensor.name] -= 1.0
        read[tensor.name] /= tensor.scale**2  # it was multiplied as a weight is; a gradient is divided
        if tensor.role == "rate":
            read[tensor.name] = of_rate(model, int(tensor.name.split(".")[1]))
    constant = re.compile(r"rope\.(long_)?frequencies$|layers\.\d+\.scale$|.*router\.bias$")
    return {name: grad for name, grad in read.items() if not constant.match(name)}, float(loss.detach())


def compare(case: Case, directory: Path, window: int, toward: bool = False) -> None:
    reference_gradients, loss = expected(case, directory, window, toward)
    with (
        Model.open(packed(case, directory)) as model,
        Model.open(packed(source_of(case), directory / "source")) as source,
        model.gradients(tokens=case.n_tokens, context=case.context, threads=2) as gradients,
    ):
        found, nats = whole_gradient(
            model, gradients, case.tokens, labels_of(case), window, case.context, source=source if toward else None
        )
    if case.model.config.get("use_parallel_residual"):  # one norm that stands in two places: its gradient is their sum
        for name in [name for name in found if ".feed_forward.norm" in name]:
            other = name.replace("feed_forward", "attention")
            found[name] = found[other] = found[name] + found[other]
    assert abs(nats.sum() - loss) < 1e-4 * loss
    unused = {name for name, exact in reference_gradients.items() if ".experts." in name and not exact.any()}
    for name in unused:  # of experts that no token uses, or only tokens without a label
        reference_gradients.pop(name)
        assert not np.any(found.pop(name, np.zeros(1))), name
    assert found.keys() == reference_gradients.keys()
    for name, exact in reference_gradients.items():
        # without rotary positions a key's bias moves all scores of a query alike, which changes nothing
        norm = np.linalg.norm(reference_gradients[name.replace("attention.k.bias", "attention.k")])
        assert norm > 0, name
        assert np.linalg.norm(found[name].reshape(exact.shape) - exact) < TOLERANCE * norm, name


@pytest.mark.parametrize("name", CASES)
def test_gradients(tmp_path: Path, name: str) -> None:
    compare(CASES[name], tmp_path, CASES[name].n_tokens)


@pytest.mark.parametrize("name", [
    "gemma3", "gemma4", "gpt2", "mistral_window", "llama_bias", "qwen3", "qwen3_moe_normalized", "lfm2_taps", "qwen3_5",
    "granite4_groups",
])  # fmt: skip
def test_windows(tmp_path: Path, name: str) -> None:
    """Several texts in one call, the last one shorter."""
    compare(CASES[name], tmp_path, 11)


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2", "gemma3_multimodal", "gemma4_joined", "gemma4"])
def test_toward_a_source(tmp_path: Path, name: str) -> None:
    compare(CASES[name], tmp_path, CASES[name].n_tokens, toward=True)
