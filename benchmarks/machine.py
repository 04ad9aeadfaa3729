"""What ran where: processor, threads, versions, commit, and the peak that the machine itself reaches."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.rounds import seconds_of
from fr_reranker_plugin.evaluation.provenance import processor_field, versions
from fr_reranker_plugin.scoring.forward import bfloat16_product

_PACKAGES: Final = ("fr-reranker-plugin", "torch", "transformers", "tokenizers", "sentence-transformers", "numpy",
                    "faiss-cpu", "onnxruntime", "onnx", "openvino", "ctranslate2", "FlagEmbedding", "haystack-ai",
                    "sentence-transformers-haystack", "triton")  # fmt: skip
_FLAGS: Final = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni", "amx_tile", "amx_bf16",
                 "amx_int8")  # fmt: skip
_GEMM: Final = {"cpu": (2048, ("float32", "bfloat16")), "cuda": (8192, ("float32", "float16", "bfloat16"))}


def provenance(argv: list[str], *, module: str = "benchmarks.run") -> dict[str, Any]:
    """Give the date, the command and the commit."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", "-m", module, *argv]),
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--", "src", "benchmarks", ":!benchmarks/results")),
    }


def machine(device: str) -> dict[str, Any]:
    """Describe the machine and what is installed."""
    import torch

    facts: dict[str, Any] = {
        "system": platform.platform(),
        "python": sys.version.split()[0],
        "processor": processor_field("model name"),
        "cores": os.cpu_count(),
        "flags": [flag for flag in _FLAGS if flag in (processor_field("flags") or "").split()],
        "torch_threads": torch.get_num_threads(),
        "load_average_at_start": list(os.getloadavg()),
        "versions": versions(_PACKAGES),
    }
    if device.startswith("cuda"):
        card = torch.cuda.get_device_properties(torch.device(device))
        facts["gpu"] = {"name": card.name, "memory_bytes": card.total_memory, "cuda": torch.version.cuda}
    return facts


def measured_peak(device: str) -> dict[str, float]:
    """Give the FLOP/s that one large matrix product reaches here, by dtype."""
    import torch

    size, dtypes = _GEMM["cuda" if device.startswith("cuda") else "cpu"]
    peak = {}
    for name in dtypes:
        if name == "bfloat16" and device == "cpu" and bfloat16_product.is_slow():
            continue  # without AVX-512 one product takes a minute
        left = torch.randn(size, size, device=device).to(getattr(torch, name))

        def product(left: torch.Tensor = left) -> None:
            left @ left
            if device.startswith("cuda"):
                torch.cuda.synchronize()

        peak[name] = 2 * size**3 / seconds_of(product, times=5)
    return peak


def _git(*arguments: str) -> str | None:
    done = subprocess.run(  # noqa: S603 -- fixed arguments
        ["git", *arguments],  # noqa: S607 -- whichever git the developer has
        cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip() if done.returncode == 0 else None
