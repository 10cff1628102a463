"""What the functions for a torch loop of one's own expect of their arguments."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from ..errors import LstmEdgeError

READABLE = (torch.float32, torch.float64, torch.float16)


def module_of(value: Any, place: str) -> nn.Module:
    if not isinstance(value, nn.Module):
        raise LstmEdgeError(f"{place}: expected a torch.nn.Module, found {type(value).__name__}")
    return value


def copy_of(value: Any, place: str) -> nn.Module:
    """A copy on the CPU in eval mode. LstmEdgeError for what cannot be copied or holds no values that a file could carry."""
    module = module_of(value, place)
    for name, parameter in module.named_parameters():
        if parameter.is_meta:
            raise LstmEdgeError(
                f"{place}: {name}: expected values, found a parameter on the meta device: load its weights first"
            )
        if parameter.is_floating_point() and parameter.dtype not in READABLE:
            raise LstmEdgeError(
                f"{place}: {name}: expected float32, found {parameter.dtype}: call module.float() first"
            )
    try:
        return copy.deepcopy(module).eval().cpu()
    except RuntimeError as why:  # what torch says of tensors that are no leaves, as torch.nn.utils.prune leaves them
        raise LstmEdgeError(
            f"{place}: torch cannot copy {type(module).__name__} ({str(why).splitlines()[0]}); after torch.nn.utils.prune call its remove() for "
            "each weight, else detach the tensors that the module keeps"
        ) from why


def whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**31
