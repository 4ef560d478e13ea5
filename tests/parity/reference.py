"""The reference: transformers on torch, fp32, eager attention. Imported only where both are installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers
from spark_reference import register

register()
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def load(directory: Path) -> Any:
    """The model of a directory. Every tensor of the file has its place and every parameter its tensor."""
    model, loading = transformers.AutoModelForCausalLM.from_pretrained(
        directory,
        dtype=torch.float32,
        attn_implementation="eager",
        experts_implementation="eager",  # the others know no double precision
        output_loading_info=True,
    )
    assert not any(loading.values()), loading
    return model.eval()


def logits(model: Any, tokens: list[int]) -> npt.NDArray[np.float32]:
    """float32 [n][vocabulary]: what follows each token."""
    with torch.no_grad():
        found: npt.NDArray[np.float32] = model(torch.tensor([tokens])).logits[0].float().numpy()
    return found
