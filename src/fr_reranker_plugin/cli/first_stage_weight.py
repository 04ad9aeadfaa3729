"""The option that lets the order of the first stage count, too."""

from __future__ import annotations

from typing import Annotated

import typer

FirstStageWeightOption = Annotated[
    float,
    typer.Option(help="How much the order counts in which passages come, from 0 to below 1: 0.5 is half."),
]
