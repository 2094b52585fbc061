"""Linear layers whose weights oneDNN has packed, with the activation that follows: the same numbers, on CPUs.

torch has no public name for this operation; `torch.compile` uses it in the code that it makes. So whoever swaps the
layers compares the vectors, and puts the old layers back where anything is amiss.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

ROWS = 2048  # the size of batch that oneDNN packs for; every other works too
PAIRS = (("dense", "intermediate_act_fn"), ("lin1", "activation"))  # a layer and the activation behind it, in BERT's family
Swapped = list[tuple[Any, str, Any]]  # module, name of its child, the child that was there


def swap_layers(model: "torch.nn.Module") -> Swapped:
    """Swap the linear layers of `model` for packed ones; gives what `put_back` needs. Raises AttributeError where torch has no such layers."""
    import torch

    swapped: Swapped = []
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


def _packed_linear(layer: "torch.nn.Linear", gelu: bool) -> "torch.nn.Module":
    import torch

    pack: Any = torch.ops.mkldnn._reorder_linear_weight
    multiply: Any = torch.ops.mkldnn._linear_pointwise
    weight = pack(layer.weight.detach(), ROWS)
    bias = None if layer.bias is None else layer.bias.detach()
    how: tuple[str, list[Any], str] = ("gelu", [], "none") if gelu else ("none", [], "")

    class PackedLinear(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = multiply(x, weight, bias, *how)
            return found

    return PackedLinear()
