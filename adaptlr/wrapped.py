"""What a model's wrapper, or the layout of its weights, says of the processes that train it together."""

from __future__ import annotations

from typing import Any, cast

import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from adaptlr.measure import shards
from adaptlr.ranks import Ranks


def find(model: nn.Module, group: dist.ProcessGroup | None = None) -> Ranks | None:
    """The ranks that train this model together: those of ``group``, or of its DDP wrapper, or over which ``fully_shard`` cut it.

    Returns:
        None if there is one process only, or if nothing says that others train this very model.

    Raises:
        ValueError: its weights are distributed in a way that cannot be measured, or over other ranks than ``group``.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return None
    mesh_group = _mesh_group(model)
    if group is None:
        group = mesh_group if mesh_group is not None else group_of(model)
    if group is None or dist.get_world_size(group) == 1:
        return None
    if mesh_group is not None and dist.get_process_group_ranks(group) != dist.get_process_group_ranks(mesh_group):
        raise ValueError(
            f"process_group holds the ranks {dist.get_process_group_ranks(group)}, but the weights are spread over the ranks "
            f"{dist.get_process_group_ranks(mesh_group)}: leave process_group out"
        )
    return Ranks(group, sharded=mesh_group is not None, ddp=_ddp(model))


def left_alone(model: nn.Module, group: dist.ProcessGroup | None = None) -> str | None:
    """A warning, if other processes are at work and nothing says that they train this model: it may have been unwrapped."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return None
    if any(g is not None for g in (group, _mesh_group(model), group_of(model))):
        return None
    return (
        f"torch.distributed runs {dist.get_world_size()} processes, but this {type(model).__name__} is neither wrapped in "
        f"DistributedDataParallel nor cut by fully_shard, so each process decides for itself. If they train one model, give "
        f"Controller the wrapper, or process_group"
    )


def group_of(model: nn.Module | None) -> dist.ProcessGroup | None:
    """The process group of a model's DDP wrapper; None if it has none. Adapters ask, whose framework hides the wrapper."""
    ddp = None if model is None else _ddp(model)
    return None if ddp is None else cast(dist.ProcessGroup, ddp.process_group)


def _ddp(model: nn.Module) -> DistributedDataParallel | None:
    return next((m for m in model.modules() if isinstance(m, DistributedDataParallel)), None)


def _mesh_group(model: nn.Module) -> dist.ProcessGroup | None:
    """The group of all ranks that ``fully_shard`` spread the weights over; None if no weight is spread."""
    kinds = {c.__name__ for m in model.modules() for c in type(m).__mro__}
    if "FullyShardedDataParallel" in kinds:
        raise ValueError(
            "adaptlr cannot measure weights within FullyShardedDataParallel, which flattens them: "
            "use torch.distributed.fsdp.fully_shard, or DistributedDataParallel"
        )
    spread: dict[str, Any] = {name: p for name, p in model.named_parameters() if shards.is_distributed(p)}
    if not spread:
        return None
    for name, p in spread.items():
        why = shards.why_unsupported(p) or (None if "FSDPModule" in kinds else "is a DTensor, but not of fully_shard")
        if why is not None:
            raise ValueError(
                f"parameter {name} {why}: adaptlr measures what fully_shard cuts along one dimension (with replicas, if need be); "
                f"tensor and pipeline parallel training are not supported"
            )
    meshes = {p.device_mesh for p in spread.values()}
    if len(meshes) > 1:
        raise ValueError(f"the weights are spread over {len(meshes)} different meshes; adaptlr needs one")
    mesh = meshes.pop()
    if mesh.ndim == 1:
        return mesh.get_group()
    if mesh.size() == dist.get_world_size():
        return dist.group.WORLD
    raise ValueError(
        f"the weights are spread over a mesh of shape {tuple(mesh.shape)}, {mesh.size()} of {dist.get_world_size()} ranks: adaptlr "
        f"measures replicas of shards over all ranks only"
    )
