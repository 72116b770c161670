"""Joining the arguments of calls along their rows, and giving each call its rows of the result again.

A part is a tensor whose first axis holds a multiple of the call's rows, or a list with an entry for each row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

Part = Tensor | list[Any]


def joined(calls: Sequence[tuple[Part, ...]]) -> tuple[Part, ...]:
    """The parts of all calls, one after the other; each tuple has the same parts in the same order."""
    if len(calls) == 1:
        return calls[0]
    return tuple(_together(parts) for parts in zip(*calls, strict=True))


def _together(parts: Sequence[Part]) -> Part:
    if isinstance(parts[0], Tensor):
        return torch.cat([part for part in parts if isinstance(part, Tensor)])
    return [entry for part in parts for entry in part]


def split(result: Any, rows: Sequence[int]) -> list[Any]:
    """The result's share of each call, given how many rows each has.

    Tensors are cut along their first axis, `Rows` into shorter lists; tuples, lists and a library's outputs go by part;
    everything else is the same for all.
    """
    if len(rows) == 1:
        return [_plain(result)]
    match result:
        case Tensor():
            factor = result.shape[0] // sum(rows)
            return list(torch.split(result, [count * factor for count in rows]))
        case Rows():
            ends = [sum(rows[: index + 1]) for index in range(len(rows))]
            return [list(result[end - count : end]) for end, count in zip(ends, rows, strict=True)]
        case list() | tuple():
            shares = [split(part, rows) for part in result]
            return [type(result)(share[index] for share in shares) for index in range(len(rows))]
        case Mapping():
            parts = {name: split(part, rows) for name, part in result.items()}
            return [type(result)(**{name: part[index] for name, part in parts.items()}) for index in range(len(rows))]
        case _:
            return [result] * len(rows)


class Rows(list[Any]):
    """A list with an entry for each row, where another list holds parts of all rows."""


def _plain(result: Any) -> Any:
    match result:
        case Rows():
            return list(result)
        case tuple():
            return tuple(_plain(part) for part in result)
        case _:
            return result
