import copy
import dataclasses
import gc
import pickle
import subprocess
import sys
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Mapping

import pytest
import torch
import torchvision
from torch import nn
from torch.utils.checkpoint import checkpoint

from adaptlr.measure.activations import ActivationProbe
from adaptlr.measure.stages import find_stages
from adaptlr.measure.stats import COUNTERS, ActivationSample, count


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def data(rows=16):
    return torch.randn(rows, 4, generator=torch.Generator().manual_seed(1))


def readings(probe):
    counts = probe.collect()
    return {} if counts is None else {r.name: r for r in probe.readings(counts.cpu())}


def hooks(model):
    return sum(len(m._forward_hooks) for m in model.modules())


def test_counts_are_those_of_the_outputs():
    model = net()
    with ActivationProbe(find_stages(model)) as probe:
        model(data())
        counts = probe.collect()
        assert counts is not None
        hidden = model[1](model[0](data()))
    assert torch.equal(counts[0], count(ActivationSample().take(hidden)))
    assert [r.group for r in probe.readings(counts, [1, None])] == [1, None]


def test_passes_without_end_keep_no_more_than_a_few_samples():
    model = net()
    with ActivationProbe(find_stages(model)) as probe:
        for _ in range(20):
            model(data())
            assert all(len(tally.taken) <= 8 for tally in probe._tallies)
        assert [r.n for r in readings(probe).values()] == [20 * 16 * 8, 20 * 16 * 2]


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (torchvision.models.resnet18(num_classes=3), torch.randn(2, 3, 64, 64)),
        (torchvision.models.VisionTransformer(32, 8, 3, 2, 32, 64, num_classes=3), torch.randn(2, 3, 32, 32)),
        (nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2), torch.randn(2, 5, 8)),
    ],
    ids=["resnet", "vit", "encoder"],
)
def test_training_is_bit_identical_and_every_stage_is_read(model, x):
    def run(probed):
        fresh, found = copy.deepcopy(model), {}
        optimizer = torch.optim.SGD(fresh.parameters(), lr=0.1)
        torch.manual_seed(3)
        with ActivationProbe(find_stages(fresh)) as probe:
            probe.enabled = probed
            for _ in range(2):
                fresh(x).square().mean().backward()
                optimizer.step()
            found = readings(probe)
            output = fresh(x)
        return [output, *fresh.state_dict().values(), torch.get_rng_state()], found

    plain, probed = run(False), run(True)
    assert all(torch.equal(a, b) for a, b in zip(plain[0], probed[0], strict=True))
    assert list(probed[1]) == [s.name for s in find_stages(model)]
    assert not plain[1]


def test_only_training_passes_count():
    model = net()
    with ActivationProbe(find_stages(model)) as probe:
        with torch.no_grad():
            model(data())
        with torch.inference_mode():
            model(data())
        assert not probe.saw_forward
        model.eval()(data())
        assert (probe.saw_forward, probe.passed_since_step) == (True, False), "as where a net is trained in that mode"
        assert probe.collect() is None
        model.train()(data())
        assert probe.saw_forward
        assert probe.collect() is not None
        assert not probe.saw_forward


def test_a_disabled_probe_counts_nothing_but_sees_the_pass():
    model = net()
    with ActivationProbe(find_stages(model)) as probe:
        probe.enabled = False
        model(data())
        assert probe.saw_forward
        assert probe.collect() is None
        probe.enabled = True
        model(data())
        assert probe.collect() is not None


def test_shared_modules_and_micro_batches_add_up():
    relu = nn.ReLU()
    model = nn.Sequential(nn.Linear(4, 4), relu, nn.Linear(4, 4), relu, nn.Linear(4, 2))
    with ActivationProbe(find_stages(model, ["1"])) as probe:
        model(data(16))
        model(data(8))
        assert readings(probe)["1"].n == 2 * (16 + 8) * 4
        assert probe.collect() is None


def test_a_stage_that_did_not_run_has_no_reading():
    model = nn.ModuleDict({"used": nn.Linear(4, 2), "unused": nn.Linear(4, 2)})
    with ActivationProbe(find_stages(model, ["used", "unused"])) as probe:
        model["used"](data())
        counts = probe.collect()
    assert counts is not None
    assert counts.shape[0] == 2  # the same on every rank
    assert [r.name for r in probe.readings(counts)] == ["used"]


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("use_reentrant", [False, True])
def test_checkpointed_stages_count_once(use_reentrant):
    model = net()
    with ActivationProbe(find_stages(model, ["1"])) as probe:
        for _ in range(2):  # two micro-batches
            x = data().requires_grad_()
            checkpoint(model, x, use_reentrant=use_reentrant).sum().backward()
        assert readings(probe)["1"].n == 2 * 16 * 8


@dataclasses.dataclass
class Output:
    ids: torch.Tensor
    hidden: torch.Tensor


class Returns(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.make = make

    def forward(self, x):
        return self.make(x * self.weight)


@pytest.mark.parametrize(
    ("make", "n"),
    [
        (lambda x: (x, None), 64),
        (lambda x: [None, (x,)], 64),
        (lambda x: {"ids": x.long(), "logits": x}, 64),
        (lambda x: OrderedDict(loss=None, logits=x), 64),
        (lambda x: Output(x.long(), x), 64),
        (lambda x: None, 0),
        (lambda x: "text", 0),
        (lambda x: x.long(), 0),
        (lambda x: x.to_sparse(), 0),
        (lambda x: x[:0], 0),
    ],
)
def test_outputs_of_any_form(make, n):
    model = nn.Sequential(Returns(make))
    with ActivationProbe(find_stages(model, ["0"])) as probe:
        model(data())
        assert probe.saw_forward
        found = readings(probe)
    assert (found["0"].n if found else 0) == n


@dataclasses.dataclass
class Unfinished:
    """A dataclass with fields that its objects have not."""

    wide: dataclasses.InitVar[int]
    late: torch.Tensor = dataclasses.field(init=False)
    hidden: torch.Tensor = dataclasses.field(init=False)

    def __post_init__(self, wide):
        pass


def unfinished(x):
    out = Unfinished(3)
    out.hidden = x
    return out


class Refuses:
    def __getattr__(self, name):
        raise RuntimeError(f"no {name}")


def within_itself(x):
    out = [None]
    out += [out, x]
    return out


class Named(torch.Tensor):
    pass


class OnlyForward(torch.Tensor):
    """Refuses every function but those of the net."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func.__name__ in {"as_strided", "index_select", "reshape"}:
            raise NotImplementedError(func.__name__)
        return super().__torch_function__(func, types, args, kwargs or {})


def masked(x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are a prototype
        return torch.masked.masked_tensor(x, torch.ones_like(x).bool())


@pytest.mark.filterwarnings("ignore:The PyTorch API of (nested|Masked)")
@pytest.mark.parametrize(
    ("make", "n"),
    [
        (unfinished, 64),
        (lambda x: Refuses(), 0),
        (lambda x: (Refuses(), x), 64),
        (within_itself, 64),
        (lambda x: {"a": [(x.long(), [{"b": x}])]}, 64),
        (lambda x: torch.nested.as_nested_tensor([x[:3], x[3:8]]), 0),
        (lambda x: torch.nested.as_nested_tensor([x[:3], x[3:8]], layout=torch.jagged), 0),
        (lambda x: (masked(x), x), 64),
        (lambda x: x.as_subclass(Named), 64),
        (lambda x: x.as_subclass(OnlyForward), 64),
        (lambda x: nn.Parameter(x.detach()), 64),
    ],
    ids=["unfinished", "refuses", "refuses first", "within itself", "deep", "strided", "jagged", "masked", "named", "own", "param"],
)
def test_odd_outputs_are_read_or_passed_over_and_nothing_is_said(make, n):
    model = nn.Sequential(Returns(make))
    with ActivationProbe(find_stages(model, ["0"])) as probe:
        for _ in range(2):
            model(data())
        found = readings(probe)
    assert (found["0"].n if found else 0) == 2 * n


def test_symbolic_tracing_goes_through_a_stage():
    model = nn.Sequential(Returns(torch.relu))
    with ActivationProbe(find_stages(model, ["0"])) as probe:
        traced = torch.fx.symbolic_trace(model)
        assert torch.equal(traced(data()), model(data()))
        assert readings(probe)["0"].n == 64


def test_a_tensor_on_its_way_between_ranks_is_read_when_it_is_there():
    from torch.distributed._functional_collectives import AsyncCollectiveTensor

    model = nn.Sequential(Returns(lambda x: AsyncCollectiveTensor(x.detach())))
    with ActivationProbe(find_stages(model, ["0"])) as probe:
        model(data())
        assert readings(probe)["0"].n == 64


class Worn(Mapping):
    """Answers once, then fails."""

    def __init__(self):
        self.asked = 0

    def __getitem__(self, key):
        raise LookupError("worn out")

    def __iter__(self):
        self.asked += 1
        return iter(["a"])

    def __len__(self):
        return 1


def test_an_output_that_cannot_be_read_costs_its_stage_and_not_the_run():
    worn = Worn()
    model = nn.Sequential(nn.Linear(4, 4), Returns(lambda x: (worn, x)), nn.Identity())
    with ActivationProbe(find_stages(model, ["0", "1"])) as probe:
        with pytest.warns(UserWarning, match=r"stage '1' returned, and watches this run without it \(LookupError: worn") as said:
            model(data())
        assert len(said) == 1
        model(data())
        model(data())  # nothing more is said
        assert worn.asked == 1, "once, and not again"
        assert {k: r.n for k, r in readings(probe).items()} == {"0": 3 * 64}
        model(data())
        assert {k: r.n for k, r in readings(probe).items()} == {"0": 64}


@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_a_compiled_net_may_return_a_dataclass_with_fields_that_are_not_set():
    model = nn.Sequential(Returns(unfinished))
    with ActivationProbe(find_stages(model, ["0"])) as probe:
        torch.compile(model, backend="eager")(data())
        assert readings(probe)["0"].n == 64


def test_lstm_output_is_its_sequence():
    model = nn.ModuleDict({"rnn": nn.LSTM(4, 8), "out": nn.Linear(8, 2)})
    with ActivationProbe(find_stages(model)) as probe:
        out, _ = model["rnn"](torch.randn(5, 3, 4))
        model["out"](out)
        found = readings(probe)
    assert {k: r.n for k, r in found.items()} == {"rnn1": 5 * 3 * 8, "head": 5 * 3 * 2}


def test_hooks_are_gone_after_exit_and_after_an_error():
    model = net()
    probe = ActivationProbe(find_stages(model))

    def fail():
        with probe:
            assert hooks(model) == 2
            raise KeyError("in the middle")

    with pytest.raises(KeyError):
        fail()
    assert hooks(model) == 0
    with probe, pytest.raises(RuntimeError, match="already"):
        probe.__enter__()
    assert hooks(model) == 0


def test_copies_and_pickles_of_a_watched_model_are_inert():
    model = net()
    with ActivationProbe(find_stages(model)) as probe:
        for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert torch.equal(twin(data()), model(data()))
            probe.collect()
            twin(data())
            assert not probe.saw_forward


def test_a_model_saved_within_the_block_is_loaded_without_adaptlr(tmp_path):
    model = net()
    with ActivationProbe(find_stages(model)):
        twin = copy.deepcopy(copy.deepcopy(model))
        torch.save(model, tmp_path / "model.pt")
        torch.save(twin, tmp_path / "twin.pt")
        assert torch.equal(torch.compile(twin, backend="eager", fullgraph=True)(data()), model(data()))
    code = f"""
import sys
sys.modules["adaptlr"] = None  # as where it is not installed
import torch
for name in ("model", "twin"):
    model = torch.load(rf"{tmp_path}/{{name}}.pt", weights_only=False)
    print(model(torch.zeros(16, 4)).shape)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert out.stdout.split("\n")[:2] == ["torch.Size([16, 2])"] * 2, out.stderr


def test_activations_are_not_kept_alive():
    model, kept = net(), []
    with ActivationProbe(find_stages(model)):
        model[1].register_forward_hook(lambda m, a, output: kept.append(weakref.ref(output)))
        model(data())
        gc.collect()
    assert kept[0]() is None


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # the compiler's own, which it hides
def test_compiled_model_counts_too():
    model = net()
    with ActivationProbe(find_stages(model)) as probe:
        compiled = torch.compile(model, backend="eager")
        for _ in range(2):
            compiled(data())
        found = readings(probe)
    assert found["fc1"].n == 2 * 16 * 8


def test_autocast_output_is_counted():
    model = net()
    with ActivationProbe(find_stages(model)) as probe, torch.autocast("cpu", torch.bfloat16):
        model(data())
        counts = probe.collect()
    assert counts is not None
    assert counts.dtype == torch.float64
    assert counts[0, COUNTERS.index("n")] == 16 * 8


def test_wrong_settings_quote_the_value():
    with pytest.raises(ValueError, match="hist_max=0"):
        ActivationProbe((), hist_max=0)
