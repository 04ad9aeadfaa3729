"""Matrix products of bfloat16 numbers that are summed and given in float32, on CPUs with bfloat16 tile units (AMX).

torch rounds such a product to bfloat16. The function that does not is a documented extension of the BLAS interface,
`cblas_gemm_bf16bf16f32` of oneMKL, which torch's own x86 builds carry and export.
"""

from __future__ import annotations

import ctypes
import logging
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

_NAME: Final = "cblas_gemm_bf16bf16f32"
_ROW_MAJOR: Final = 101
_AS_IT_IS: Final = 111
_TRANSPOSED: Final = 112
_INT, _FLOAT, _POINTER = ctypes.c_int, ctypes.c_float, ctypes.c_void_p
_SIGNATURE: Final = [
    *(_INT, _INT, _INT),  # order, and whether each factor is transposed
    *(_INT, _INT, _INT),  # rows, columns and depth of the product
    *(_FLOAT, _POINTER, _INT, _POINTER, _INT),  # scale and the two factors, each with its row length
    *(_FLOAT, _POINTER, _INT),  # scale of what stands there, and the product with its row length
]


def add_product(rows: Tensor, weight: Tensor, product: Tensor) -> None:
    """Add `rows @ weight.T` to `product`.

    :param rows: bfloat16, shape (rows, inputs), each row contiguous.
    :param weight: bfloat16, shape (outputs, inputs), each row contiguous.
    :param product: float32, shape (rows, outputs), each row contiguous.
    """
    (count, depth), outputs = rows.shape, len(weight)
    _gemm()(
        *(_ROW_MAJOR, _AS_IT_IS, _TRANSPOSED, count, outputs, depth),
        *(1.0, rows.data_ptr(), rows.stride(0), weight.data_ptr(), weight.stride(0)),
        *(1.0, product.data_ptr(), product.stride(0)),
    )


def capabilities() -> dict[str, bool]:
    """Give the instruction sets of this CPU by name, as far as torch (from 2.9 on) tells them."""
    import torch

    known: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return known


def has_tile_units() -> bool:
    """Whether this CPU multiplies bfloat16 matrices in hardware (AMX)."""
    return bool(capabilities().get("amx_bf16"))


def is_slow() -> bool:
    """Whether bfloat16 takes this CPU several times as long as float32: x86 without instructions for it."""
    known = capabilities()
    return bool(known.get("avx2")) and not (known.get("avx512_bf16") or known.get("amx_bf16"))


@cache
def is_available() -> bool:
    """Whether this CPU has the tile units, torch carries the function, and it computes what it should."""
    import torch

    if not has_tile_units():
        return False
    try:
        _gemm()
    except (OSError, AttributeError):
        logger.info("this build of torch does not export %s; float32 products are computed in float32", _NAME)
        return False
    rows, weight = torch.arange(-24.0, 24.0).view(3, 16), torch.arange(80.0, 0.0, -1.0).view(5, 16)
    product = torch.ones(3, 5)
    add_product(rows.bfloat16(), weight.bfloat16(), product)
    return torch.equal(product, rows @ weight.T + 1)


@cache
def _gemm() -> Any:  # noqa: ANN401 -- a C function has no better type
    import torch

    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
    function = getattr(library, _NAME)
    function.argtypes, function.restype = _SIGNATURE, None
    return function
