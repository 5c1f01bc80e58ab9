"""What kind of module one is: a convolution, an activation, a block that repeats."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
WEIGHTED = (*CONVS, nn.Linear, nn.Bilinear)
RECURRENT = (nn.RNNBase, nn.RNNCellBase)
_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)
POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
ATOMS = (*WEIGHTED, *RECURRENT, *_NORMS, nn.Embedding, nn.EmbeddingBag, nn.MultiheadAttention)  # never looked into
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_ACTIVATIONS = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.GLU, nn.SiLU, nn.Mish),
    *(nn.Hardswish, nn.Hardtanh, nn.Softplus, nn.Softsign, nn.Tanh, nn.Tanhshrink, nn.Softshrink, nn.Hardshrink, nn.Threshold),
)
GATES = (nn.Sigmoid, nn.Hardsigmoid, nn.LogSigmoid)  # mostly gates and outputs: observed only where there is nothing else
_ACTIVATION_WORDS = ("relu", "gelu", "silu", "swish", "mish", "snake", "activation")  # classes of other packages


def numel(param: nn.Parameter) -> int:
    """Weights in a parameter; 0 for a lazy one."""
    return 0 if is_lazy(param) else param.numel()  # a lazy layer has no size before its first forward pass


def fan_in(weight: Tensor) -> int:
    """Inputs that each output of a weight of two or more dimensions is made of."""
    return weight.numel() // weight.shape[0]


def has_weights(module: nn.Module) -> bool:
    """It or anything inside it holds a parameter."""
    return any(True for _ in module.parameters())


def is_activation(module: nn.Module) -> bool:
    """A non-linearity of torch, or a leaf without weights whose class is named like one."""
    if isinstance(module, _ACTIVATIONS):
        return True
    word = type(module).__name__.lower()
    return not has_weights(module) and next(module.children(), None) is None and any(w in word for w in _ACTIVATION_WORDS)


def are_blocks(children: Sequence[nn.Module]) -> bool:
    """One class, with weights and with an inside."""
    return len({type(c) for c in children}) == 1 and all(
        has_weights(c) and not isinstance(c, ATOMS) and next(c.children(), None) is not None for c in children
    )
