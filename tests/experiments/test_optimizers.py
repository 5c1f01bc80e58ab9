"""Lion and Muon: their steps are what their authors say."""

from __future__ import annotations

import torch
from torch import nn

from experiments.optimizers import Lion, Muon, _orthogonal


def test_lion_moves_every_weight_by_the_learning_rate_and_remembers_directions() -> None:
    p = nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))
    lion = Lion([p], lr=0.1)
    p.grad = torch.tensor([3.0, -0.01, 0.0])
    lion.step()
    assert torch.allclose(p.detach(), torch.tensor([0.9, -1.9, 0.5]))
    p.grad = torch.tensor([-0.1, 1.0, 0.0])  # 0.9 x mean + 0.1 x gradient: 0.9 x 0.03 - 0.01, which the mean decides
    lion.step()
    assert torch.allclose(p.detach(), torch.tensor([0.8, -2.0, 0.5]))


def test_lions_weight_decay_is_decoupled() -> None:
    p = nn.Parameter(torch.tensor([2.0]))
    p.grad = torch.tensor([0.0])
    Lion([p], lr=0.1, weight_decay=0.5).step()
    assert torch.allclose(p.detach(), torch.tensor([1.9]))


def test_muon_moves_inner_matrices_by_orthogonal_ones_and_all_else_like_adam() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(16, 8), nn.Linear(8, 10))
    muon = Muon([{"params": list(net.parameters())}], lr=0.02)
    assert [len(g["params"]) for g in muon.param_groups] == [2, 6]
    assert [g["lr"] for g in muon.param_groups] == [0.02, 0.001]
    before = [p.detach().clone() for p in net.parameters()]
    net(torch.randn(256, 1, 6, 6)).square().mean().backward()
    muon.step()
    for p, was in zip(net.parameters(), before, strict=True):
        moved = (p.detach() - was).flatten(1) if p.ndim > 1 else p.detach() - was
        if any(p is q for q in muon.param_groups[0]["params"]):
            singular = torch.linalg.svdvals(moved / 0.02)
            assert 0.5 < float(singular.min()) <= float(singular.max()) < 1.3
        else:
            assert p.grad is not None
            arrived = p.grad.view_as(moved).abs() > 1e-6
            assert torch.allclose(moved.abs()[arrived], torch.tensor(0.001), rtol=0.02)


def test_the_iteration_finds_the_closest_orthogonal_matrix_roughly() -> None:
    torch.manual_seed(1)
    matrix = torch.randn(6, 9)
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    for shape in (matrix, matrix.T):
        found, closest = _orthogonal(shape), (u @ vh if shape is matrix else (u @ vh).T)
        assert float((found - closest).norm() / closest.norm()) < 0.35
