"""The weighted mean of two cross-encoders, the second of which learned on from the first: often better on average."""

from __future__ import annotations

import argparse
from pathlib import Path

from safetensors.torch import load_file

from cross_encoder import save_cross_encoder


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("first", type=Path, help="cross-encoder")
    parser.add_argument("second", type=Path, help="cross-encoder that learned on from it")
    parser.add_argument("--share", type=float, default=0.75, help="of the second one, from 0 to 1")
    parser.add_argument("--bits", type=int, default=8, help="mantissa bits to keep")
    return parser.parse_args()


def main() -> None:
    """Average, round and write."""
    args = arguments()
    first, second = (load_file(folder / "model.safetensors") for folder in (args.first, args.second))
    if first.keys() != second.keys():
        raise SystemExit(f"expected two models with the same layers, got {args.first} and {args.second}")
    mean = {name: one.float() + args.share * (second[name].float() - one.float()) for name, one in first.items()}
    save_cross_encoder(args.out, mean, args.second, bits=args.bits)


if __name__ == "__main__":
    main()
