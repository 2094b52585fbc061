"""Linear layers whose weights oneDNN has packed, with the activation or the sum that follows: the same numbers, on CPUs.

torch has no public name for this operation; `torch.compile` uses it in the code that it makes. So whoever swaps the
layers compares the vectors, and puts the old layers back where anything is amiss.
"""

from inspect import signature
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

ROWS = 2048  # the size of batch that oneDNN packs for; every other works too
PAIRS = (("dense", "intermediate_act_fn"), ("lin1", "activation"))  # a layer and the activation behind it, in BERT's family
SUM, SUM_INPUTS = {"dense", "LayerNorm", "dropout"}, ["hidden_states", "input_tensor"]
Swapped = list[tuple[Any, str, Any]]  # module, name of its child, the child that was there


def swap_layers(model: "torch.nn.Module") -> Swapped:
    """Swap the linear layers of `model` for packed ones; gives what `put_back` needs. Raises AttributeError where torch has no such layers."""
    import torch

    swapped = _swap_sums(model)
    for parent in list(model.modules()):
        fused = {layer: act for layer, act in PAIRS if _is_gelu(getattr(parent, act, None)) and _fits(getattr(parent, layer, None))}
        for name, child in list(parent.named_children()):
            if _fits(child):
                swapped.append((parent, name, child))
                setattr(parent, name, _packed_linear(child, gelu=name in fused))
        for name in fused.values():
            swapped.append((parent, name, getattr(parent, name)))
            setattr(parent, name, torch.nn.Identity())
    return swapped


def put_back(swapped: Swapped) -> None:
    """Undo `swap_layers`."""
    for parent, name, child in swapped:
        setattr(parent, name, child)


def _fits(layer: Any) -> bool:
    import torch

    return type(layer) is torch.nn.Linear and layer.weight.dtype == torch.float32 and layer.weight.device.type == "cpu"


def _is_gelu(function: Any) -> bool:
    """Whether this is the exact GELU: its numbers say so, for its classes are many."""
    import torch

    if not isinstance(function, torch.nn.Module):
        return False
    x = torch.linspace(-6, 6, 101)
    with torch.inference_mode():
        found = function(x)
        return bool(found.shape == x.shape and (found - torch.nn.functional.gelu(x)).abs().max() < 2e-7)


def _swap_sums(model: "torch.nn.Module") -> Swapped:
    """Swap the modules that BERT's family has behind attention and behind its wide layer: a linear layer, the residual sum, a norm."""
    swapped: Swapped = []
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if _is_sum(child):
                swapped.append((parent, name, child))
                setattr(parent, name, _packed_sum(child))
    return swapped


def _is_sum(child: Any) -> bool:
    parts = {name for name, _ in child.named_children()}
    return parts == SUM and list(signature(child.forward).parameters) == SUM_INPUTS and _fits(child.dense)


def _packed_sum(layer: Any) -> "torch.nn.Module":
    import torch

    multiply: Any = torch.ops.mkldnn._linear_pointwise.binary
    weight, bias = _packed(layer.dense)
    norm = layer.LayerNorm

    class PackedSum(torch.nn.Module):  # type: ignore[misc]
        def forward(self, hidden_states: torch.Tensor, input_tensor: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = norm(multiply(hidden_states, input_tensor, weight, bias, "add"))
            return found

    return PackedSum()


def _packed_linear(layer: "torch.nn.Linear", gelu: bool) -> "torch.nn.Module":
    import torch

    multiply: Any = torch.ops.mkldnn._linear_pointwise
    weight, bias = _packed(layer)
    how: tuple[str, list[Any], str] = ("gelu", [], "none") if gelu else ("none", [], "")

    class PackedLinear(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = multiply(x, weight, bias, *how)
            return found

    return PackedLinear()


def _packed(layer: "torch.nn.Linear") -> "tuple[torch.Tensor, torch.Tensor | None]":
    """The weight, as oneDNN packs it, and the bias."""
    import torch

    pack: Any = torch.ops.mkldnn._reorder_linear_weight
    return pack(layer.weight.detach(), ROWS), None if layer.bias is None else layer.bias.detach()
