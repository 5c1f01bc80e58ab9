"""Random or trained: what every initialiser draws, what training leaves, and what cannot be told."""

from __future__ import annotations

import math
import pickle
import random
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import init

from adaptlr.measure.provenance import (
    EDGE_RANDOM,
    EDGE_TRAINED,
    KS_RANDOM,
    MIN_WEIGHTS,
    edge_ratio,
    few,
    ks_distance,
    of_group,
    of_groups,
    of_weight,
)
from adaptlr.records import Provenance

RANDOM, TRAINED, MIXED, UNKNOWN = Provenance.RANDOM, Provenance.TRAINED, Provenance.MIXED, Provenance.UNKNOWN
SEEDS = range(20)
IMAGENET = Path(__file__).parents[2] / "data" / "weights" / "resnet18_imagenet_body.pth"


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def drawn(fill: Callable[..., object], *shape: int, seed: int = 0) -> Tensor:
    w = torch.empty(*shape)
    fill(w, generator=torch.Generator().manual_seed(seed))
    return w


def spiked(strength: float, *, rank: int = 3, rows: int = 96, columns: int = 160, seed: int = 0) -> Tensor:
    """Noise plus a few directions, each with a singular value of ``strength`` times the noise's edge."""
    u, v = (torch.linalg.qr(randn(n, rank, seed=seed + n)).Q for n in (rows, columns))
    return randn(rows, columns, seed=seed) + strength * (math.sqrt(rows) + math.sqrt(columns)) * u @ v.T


INITIALISERS: dict[str, Callable[..., object]] = {
    "uniform": partial(init.uniform_, a=-0.1, b=0.1),
    "uniform on [0, 1]": init.uniform_,
    "normal": partial(init.normal_, std=0.02),
    "normal around 1": partial(init.normal_, mean=1.0),
    "truncated at 2 std": partial(init.trunc_normal_, std=1.0),
    "truncated far out": partial(init.trunc_normal_, std=0.02),
    "xavier uniform": init.xavier_uniform_,
    "xavier normal": init.xavier_normal_,
    "kaiming uniform": partial(init.kaiming_uniform_, a=math.sqrt(5)),
    "kaiming normal": partial(init.kaiming_normal_, mode="fan_out"),
    "orthogonal": init.orthogonal_,
}
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "Linear": lambda: nn.Linear(96, 64),
    "Linear, wide": lambda: nn.Linear(512, 16),
    "Conv1d": lambda: nn.Conv1d(8, 64, 5),
    "Conv2d": lambda: nn.Conv2d(16, 32, 3),
    "Conv2d, depthwise": lambda: nn.Conv2d(64, 64, 3, groups=64),
    "ConvTranspose2d": lambda: nn.ConvTranspose2d(16, 32, 3),
    "LSTM": lambda: nn.LSTM(32, 64),
    "GRU": lambda: nn.GRU(32, 64),
    "Embedding": lambda: nn.Embedding(100, 32),
    "MultiheadAttention": lambda: nn.MultiheadAttention(64, 4),
}


class TestRandom:
    @pytest.mark.parametrize("name", INITIALISERS)
    @pytest.mark.parametrize("shape", [(32, 400), (64, 16, 3, 3)], ids=str)
    def test_every_initialiser_draws_what_is_called_random(self, name: str, shape: tuple[int, ...]) -> None:
        said = [of_weight(drawn(INITIALISERS[name], *shape, seed=seed)) for seed in SEEDS]
        assert said == [RANDOM] * len(SEEDS)

    @pytest.mark.parametrize("name", LAYERS)
    def test_so_does_every_layer_as_torch_makes_it(self, name: str) -> None:
        said = []
        for seed in SEEDS:
            torch.manual_seed(seed)
            said += [of_weight(w) for w in LAYERS[name]().parameters() if w.ndim >= 2]
        assert set(said) == {RANDOM}

    @pytest.mark.parametrize(
        "sparsity",
        [0.1, 0.5, pytest.param(0.9, marks=pytest.mark.xfail(strict=True, reason="mostly zeros: tails this heavy pass the edge"))],
    )
    def test_sparse_draws_are_never_called_trained(self, sparsity: float) -> None:
        said = {of_weight(drawn(partial(init.sparse_, sparsity=sparsity), 128, 96, seed=seed)) for seed in SEEDS}
        assert TRAINED not in said

    @pytest.mark.parametrize(
        "fill", [init.zeros_, init.ones_, init.eye_, partial(init.constant_, val=0.3)], ids=["zeros", "ones", "eye", "constant"]
    )
    def test_fixed_starts_are_never_called_trained(self, fill: Callable[[Tensor], Tensor]) -> None:
        """A head that starts at zero is not pretrained."""
        assert of_weight(fill(torch.empty(64, 48))) is UNKNOWN

    def test_dirac_is_never_called_trained(self) -> None:
        assert of_weight(init.dirac_(torch.empty(32, 32, 3, 3))) is UNKNOWN

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_weights_that_are_not_finite_tell_nothing(self, value: float) -> None:
        w = randn(64, 48)
        w[3, 5] = value
        assert of_weight(w) is UNKNOWN

    @pytest.mark.parametrize(("shape", "said"), [((7, 73), UNKNOWN), ((16, 32), RANDOM)], ids=["511", "512"])
    def test_fewer_than_512_entries_tell_nothing(self, shape: tuple[int, int], said: Provenance) -> None:
        assert (math.prod(shape) < MIN_WEIGHTS) is (said is UNKNOWN)
        assert of_weight(drawn(init.uniform_, *shape)) is said
        assert (of_weight(5 * torch.ones(shape[0], 1) + 0.1 * randn(*shape)) is UNKNOWN) is (said is UNKNOWN)


class TestTrained:
    @staticmethod
    @cache
    def trained(name: str, seed: int) -> tuple[float, tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Accuracy on digits that were not seen, and the weights of a small net before and after its training."""
        images, labels = (torch.from_numpy(a) for a in load_digits(return_X_y=True))
        x, y = images.float() / 16, labels.long()
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        weights = [w for w in net.parameters() if w.ndim == 2]
        before = tuple(w.detach().clone() for w in weights)
        optimizer = {"sgd": partial(torch.optim.SGD, lr=0.1, momentum=0.9), "adam": partial(torch.optim.Adam, lr=3e-3)}[name](
            net.parameters()
        )
        for _ in range(15):
            for batch in torch.randperm(1500).split(64):
                optimizer.zero_grad()
                nn.functional.cross_entropy(net(x[batch]), y[batch]).backward()
                optimizer.step()
        accuracy = (net(x[1500:]).argmax(1) == y[1500:]).float().mean().item()
        return accuracy, before, tuple(w.detach() for w in weights)

    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize("name", ["sgd", "adam"])
    def test_a_net_is_random_before_its_training_and_trained_after_it(self, name: str, seed: int) -> None:
        """Some 350 healthy steps. The hidden layers tell; the head, 10 outputs over their bulk, may still be in doubt."""
        accuracy, before, after = self.trained(name, seed)
        assert accuracy > 0.85
        assert [of_weight(w) for w in before] == [RANDOM] * 3
        assert [of_weight(w) for w in after[:2]] == [TRAINED] * 2
        assert of_group([nn.Parameter(w) for w in before]) is RANDOM
        assert of_group([nn.Parameter(w) for w in after]).has_learned  # MIXED, if the head looks new

    @pytest.mark.parametrize(
        ("strength", "said"),
        [
            pytest.param(0.0, RANDOM, id="noise"),
            pytest.param(0.2, RANDOM, id="sunk-in-the-noise"),  # below the transition, a spike does not change the bulk's edge
            pytest.param(1.2, TRAINED, id="stands-out"),
            pytest.param(3.0, TRAINED, id="far-out"),
        ],
    )
    @pytest.mark.parametrize("rank", [1, 5])
    def test_a_few_directions_that_stand_out_of_noise(self, strength: float, said: Provenance, rank: int) -> None:
        assert [of_weight(spiked(strength, rank=rank, seed=seed)) for seed in SEEDS] == [said] * len(SEEDS)

    def test_structure_tells_and_the_law_of_the_entries_alone_does_not(self) -> None:
        """The same entries, shuffled: nothing stands out any more. It is no initialiser's law either: no verdict."""
        w = spiked(3.0, rank=1)
        shuffled = w.flatten()[torch.randperm(w.numel(), generator=torch.Generator().manual_seed(0))].view_as(w)
        assert of_weight(w) is TRAINED
        assert of_weight(shuffled) is not TRAINED

    @pytest.mark.skipif(not IMAGENET.exists(), reason=f"needs {IMAGENET.relative_to(Path(__file__).parents[2])}: see README, data")
    def test_every_layer_of_a_pretrained_resnet(self) -> None:
        layers = {k: w for k, w in torch.load(IMAGENET, weights_only=True).items() if w.ndim == 4}
        assert len(layers) == 20
        assert {k: of_weight(w) for k, w in layers.items()} == dict.fromkeys(layers, TRAINED)
        assert of_group([nn.Parameter(w) for w in layers.values()]) is TRAINED
        for stage in ("conv1", "layer1", "layer2", "layer3", "layer4"):
            assert of_group([nn.Parameter(w) for k, w in layers.items() if k.startswith(stage)]) is TRAINED


@settings(deadline=None, max_examples=20)
@given(st.floats(1e-6, 1e6), st.sampled_from([0.0, 2.0]), st.integers(0, 100))
def test_the_scale_of_the_weights_says_nothing(factor: float, strength: float, seed: int) -> None:
    w = spiked(strength, seed=seed)
    assert of_weight(factor * w) is of_weight(w)


def test_the_layout_in_memory_does_not_matter() -> None:
    w = spiked(2.0, rows=32, columns=16 * 9).view(32, 16, 3, 3)
    assert of_weight(w.contiguous(memory_format=torch.channels_last)) is of_weight(w)
    assert of_weight(w.bfloat16()) is TRAINED


def test_no_generator_is_touched_and_no_gradient_asked_for() -> None:
    def generators() -> tuple[bytes, bytes, object]:
        return torch.get_rng_state().numpy().tobytes(), pickle.dumps(np.random.get_state()), random.getstate()

    w = nn.Parameter(randn(64, 64))
    before = generators()
    assert of_group([w]) is RANDOM
    assert generators() == before
    assert w.grad is None


def init_eye(*shape: int) -> Tensor:
    return init.eye_(torch.empty(*shape))


def weight(said: Provenance, entries: int) -> nn.Parameter:
    """A weight of about so many entries of which that is said."""
    columns = entries // 32
    of = {RANDOM: randn, TRAINED: lambda *shape: spiked(3.0, rows=shape[0], columns=shape[1]), UNKNOWN: init_eye}
    w = of[said](32, columns) if columns else randn(4, entries // 4)
    assert of_weight(w) is (said if w.numel() >= MIN_WEIGHTS else UNKNOWN)
    return nn.Parameter(w)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        pytest.param([], UNKNOWN, id="nothing"),
        pytest.param([(RANDOM, 4096)], RANDOM, id="random"),
        pytest.param([(RANDOM, 4096), (UNKNOWN, 2048)], RANDOM, id="mostly-random"),
        pytest.param([(RANDOM, 2048), (UNKNOWN, 4096)], UNKNOWN, id="mostly-unknown"),
        pytest.param([(RANDOM, 2048), (UNKNOWN, 2048)], UNKNOWN, id="half-unknown"),
        pytest.param([(RANDOM, 4096), (TRAINED, 4096)], TRAINED, id="pretrained-with-a-layer-that-looks-new"),
        pytest.param([(RANDOM, 3072), (TRAINED, 1024)], TRAINED, id="a-quarter-trained"),
        pytest.param([(TRAINED, 4096), (RANDOM, 4096)], MIXED, id="pretrained-body-new-head"),
        pytest.param([(TRAINED, 4096), (RANDOM, 64)], MIXED, id="the-head-is-small"),
        pytest.param([(TRAINED, 4096), (RANDOM, 28)], TRAINED, id="too-small-for-that"),
        pytest.param([(TRAINED, 1024), (RANDOM, 4096)], UNKNOWN, id="less-than-a-quarter-trained"),
        pytest.param([(RANDOM, 2048)] * 4 + [(TRAINED, 1024)] * 9, RANDOM, id="only-the-four-largest-are-read"),
    ],
)
def test_groups(weights: list[tuple[Provenance, int]], said: Provenance) -> None:
    params = [weight(p, n) for p, n in weights]
    biases = [nn.Parameter(torch.zeros(100_000))]
    assert of_group(biases + params) is of_group(params + biases) is said
    if said is not MIXED:
        assert of_group(params[:-1][::-1] + params[-1:]) is said, "but for the last, their order is nothing"


@pytest.mark.parametrize("said", [RANDOM, TRAINED])
def test_weights_that_begin_as_a_constant_say_nothing_of_the_others(said: Provenance) -> None:
    """The output vectors of word2vec, the second matrix of LoRA, the last layer of a residual branch; the largest, maybe."""
    constants = [nn.Parameter(torch.full((64, 512), value)) for value in (0.0, 0.0, 0.0, 0.0, 1.0)]
    assert of_group([*constants, weight(said, 4096)]) is said
    assert of_group(constants) is UNKNOWN


@pytest.mark.parametrize(
    ("others", "said"),
    [
        pytest.param([RANDOM, RANDOM], RANDOM, id="a-small-head-on-a-random-body"),
        pytest.param([RANDOM, TRAINED], RANDOM, id="a-small-head-on-a-pretrained-body"),
        pytest.param([UNKNOWN], UNKNOWN, id="nothing-tells"),
    ],
)
def test_a_group_with_too_few_entries_to_tell_is_judged_by_the_others(others: list[Provenance], said: Provenance) -> None:
    small = nn.Parameter(randn(4, 64))
    groups = [[weight(p, 4096)] for p in others]
    assert of_groups([*groups, [small]]) == (*others, said)
    assert of_groups([*groups, [nn.Parameter(torch.zeros(4, 64))]])[-1] is UNKNOWN, "a branch that begins with nothing"
    number = UNKNOWN if TRAINED in others else said
    for value, one in ((0.3, number), (0.0, UNKNOWN), (1.0, UNKNOWN)):
        assert of_groups([*groups, [nn.Parameter(torch.full((1, 1), value))]])[-1] is one, "a weight that is a single number"


def test_a_weight_without_entries_says_nothing() -> None:
    empty = nn.Parameter(torch.zeros(0, 4))
    small = nn.Parameter(randn(8, 4))
    assert of_groups([[empty]]) == of_groups([[empty, small]]) == (UNKNOWN,)
    assert few([[empty, small]], (UNKNOWN,)) == (0,)
    large = nn.Parameter(randn(64, 64))
    assert of_groups([[large], [empty, small]]) == (RANDOM, RANDOM)


def test_a_net_of_zeros_has_not_been_trained() -> None:
    zeros = [nn.Parameter(torch.zeros(n, 64)) for n in (10, 100)]
    biases = [nn.Parameter(torch.zeros(10))]
    assert of_groups([zeros]) == of_groups([[*zeros, *biases]]) == (RANDOM,)
    assert of_groups([[zero] for zero in zeros]) == (RANDOM, RANDOM)
    assert of_groups([[zeros[0]], [weight(UNKNOWN, 4096)]]) == (UNKNOWN, UNKNOWN)
    assert of_groups([[nn.Parameter(torch.ones(10, 64))]]) == of_groups([biases]) == (UNKNOWN,)


def test_of_a_net_of_few_weights_the_groups_are_named_that_may_be_random() -> None:
    """Unless something tells."""
    small = [nn.Parameter(randn(4, 64))]
    biases = [nn.Parameter(torch.zeros(10))]
    assert few([small, biases, small], of_groups([small, biases, small])) == (0, 2)
    for other in (weight(RANDOM, 4096), weight(TRAINED, 4096), weight(UNKNOWN, 4096)):
        assert few([small, [other]], of_groups([small, [other]])) == ()


def test_tensors_with_too_few_entries_do_not_outvote_one_that_tells() -> None:
    """As beside the pointwise convolutions of a mobile net, whose depthwise ones are small."""
    small = [nn.Parameter(randn(36, 1, 3, 3)) for _ in range(3)]
    assert of_group([*small, nn.Parameter(randn(24, 36, 1, 1))]) is RANDOM
    assert of_group([*small, weight(TRAINED, 4096)]) is TRAINED


class TestKsDistance:
    """Against scipy's own test of each family, fitted in the same way."""

    @staticmethod
    def twin(x: np.ndarray) -> dict[str, float]:
        mean, std = x.mean(), x.std()
        unit = stats.truncnorm(-2, 2)
        families = {
            "normal": stats.norm(mean, std),
            "truncated": stats.truncnorm(-2, 2, loc=mean, scale=std / unit.std()),
            "uniform": stats.uniform(mean - math.sqrt(3) * std, 2 * math.sqrt(3) * std),
        }
        return {name: math.sqrt(len(x)) * float(stats.kstest(x, law.cdf).statistic) for name, law in families.items()}

    SAMPLES: tuple[tuple[str, Callable[[np.random.Generator, int], np.ndarray]], ...] = (
        ("normal", lambda g, n: g.normal(0.5, 0.02, n)),
        ("uniform", lambda g, n: g.uniform(-0.1, 0.3, n)),
        ("truncated", lambda g, n: stats.truncnorm(-2, 2, scale=3).rvs(n, random_state=g)),
    )

    @pytest.mark.parametrize(("name", "draw"), SAMPLES, ids=[name for name, _ in SAMPLES])
    @pytest.mark.parametrize("seed", range(5))
    def test_it_is_scipys_statistic_of_the_law_drawn_from(
        self, name: str, draw: Callable[[np.random.Generator, int], np.ndarray], seed: int
    ) -> None:
        x = draw(np.random.default_rng(seed), 4096)
        twin = self.twin(x)
        assert min(twin, key=twin.__getitem__) == name
        assert ks_distance(x) == pytest.approx(twin[name], rel=1e-3)  # its truncation constant has four digits
        assert ks_distance(x) < KS_RANDOM

    @pytest.mark.parametrize("seed", range(5))
    def test_of_heavy_tails_it_is_the_least_of_all_and_large(self, seed: int) -> None:
        x = np.random.default_rng(seed).laplace(size=4096)
        assert ks_distance(x) == pytest.approx(min(self.twin(x).values()), rel=1e-3)
        assert ks_distance(x) > KS_RANDOM

    @settings(deadline=None, max_examples=25)
    @given(st.floats(-100, 100), st.floats(0.01, 100))
    def test_place_and_scale_are_fitted(self, shift: float, scale: float) -> None:
        x = np.random.default_rng(0).normal(size=600)
        assert ks_distance(shift + scale * x) == pytest.approx(ks_distance(x), rel=1e-6)

    @pytest.mark.parametrize(
        "x", [np.zeros(600), np.full(600, np.nan), np.r_[np.arange(600.0), np.inf]], ids=["constant", "nan", "inf"]
    )
    def test_no_spread_is_infinitely_far(self, x: np.ndarray) -> None:
        assert ks_distance(x) == math.inf


def exact_edge_ratio(m: Tensor) -> float:
    m = m.double() - m.double().mean()
    return (torch.linalg.svdvals(m)[0] / (m.std() * (math.sqrt(m.shape[0]) + math.sqrt(m.shape[1])))).item()


class TestEdgeRatio:
    @pytest.mark.parametrize("shape", [(64, 64), (16, 500), (500, 16), (300, 200)], ids=str)
    @pytest.mark.parametrize("seed", range(5))
    def test_of_noise_it_is_the_exact_one_or_a_little_low(self, shape: tuple[int, int], seed: int) -> None:
        """The edge is crowded: power iteration ends on a mixture of the largest few singular vectors."""
        m = randn(*shape, seed=seed)
        exact = exact_edge_ratio(m)
        assert 0.95 * exact <= edge_ratio(m) <= exact * (1 + 1e-5)
        assert exact < EDGE_RANDOM

    @pytest.mark.parametrize("strength", [1.2, 2.0, 5.0])
    @pytest.mark.parametrize("seed", range(5))
    def test_of_what_stands_out_it_is_exact(self, strength: float, seed: int) -> None:
        m = spiked(strength, rank=1, seed=seed)
        assert edge_ratio(m) == pytest.approx(exact_edge_ratio(m), rel=0.01)
        assert edge_ratio(m) > EDGE_TRAINED

    def test_a_common_offset_is_no_structure(self) -> None:
        m = randn(80, 60)
        assert edge_ratio(m + 5) == pytest.approx(edge_ratio(m), rel=1e-4)

    def test_a_constant_matrix_has_no_edge(self) -> None:
        assert edge_ratio(torch.ones(30, 30)) == math.inf
