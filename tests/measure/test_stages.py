import warnings
from itertools import pairwise

import pytest
import torch
import torchvision
from torch import nn

from adaptlr.measure.stages import MAX_STAGES, assign_groups, find_stages, stages_of_group, unwrap

RESNET = ["conv1", "conv2_x", "conv3_x", "conv4_x", "conv5_x", "head"]


def paths(stages):
    return {s.name: s.path for s in stages}


def mlp():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2))


def fastai_model(arch):
    with warnings.catch_warnings():  # fastai's own imports warn
        warnings.simplefilter("ignore")
        from fastai.vision.learner import create_vision_model

        return create_vision_model(arch, 10, pretrained=False)


def tiny_vit(layers=3):
    return torchvision.models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=layers, num_heads=2, hidden_dim=32, mlp_dim=64, num_classes=10
    )


class Block(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, x):
        return x + self.mlp(self.norm(x))


class Gpt(nn.Module):
    """Shaped like transformers' GPT-2: embeddings, ``h``, a tied head."""

    def __init__(self, depth=3, width=8, vocabulary=1000):
        super().__init__()
        self.wpe = nn.Embedding(16, width)
        self.wte = nn.Embedding(vocabulary, width)
        self.h = nn.ModuleList(Block(width) for _ in range(depth))
        self.ln_f = nn.LayerNorm(width)
        self.lm_head = nn.Linear(width, vocabulary, bias=False)
        self.lm_head.weight = self.wte.weight


class Bert(nn.Module):
    def __init__(self):
        super().__init__()
        self.embeddings = nn.ModuleDict({"word": nn.Embedding(100, 8), "norm": nn.LayerNorm(8)})
        self.encoder = nn.Module()
        self.encoder.layer = nn.ModuleList(Block() for _ in range(2))
        self.classifier = nn.Linear(8, 2)


class TimmConvNeXt(nn.Module):
    """Shaped like timm's: ``stem``, ``stages`` of a class of their own, ``head``."""

    class Stage(nn.Module):
        def __init__(self):
            super().__init__()
            self.downsample = nn.Sequential(nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1))
            self.blocks = nn.Sequential(Block(), Block())

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 4), nn.BatchNorm2d(8))
        self.stages = nn.Sequential(*(self.Stage() for _ in range(4)))
        self.head = nn.Linear(8, 2)


class Odd(nn.Module):
    """Fits no family: named layers, an activation module here and there."""

    def __init__(self, activation: type[nn.Module] = nn.SiLU):
        super().__init__()
        self.part = nn.Module()
        self.part.a = nn.Conv2d(3, 4, 3)
        self.part.act = activation()
        self.b = nn.Linear(4, 4)
        self.c = nn.Linear(4, 2)


def test_torchvision_resnet():
    model = torchvision.models.resnet18()
    stages = find_stages(model)
    assert [s.name for s in stages] == RESNET
    assert [s.path for s in stages] == ["relu", "layer1", "layer2", "layer3", "layer4", "fc"]
    assert isinstance(stages[0].module, nn.ReLU)
    assert set(stages[0].params) == {*model.conv1.parameters(), *model.bn1.parameters()}


@pytest.mark.parametrize("arch", [torchvision.models.resnet18, torchvision.models.resnet50])
def test_fastai_resnet_body_and_head(arch):
    model = fastai_model(arch)
    stages = find_stages(model)
    assert [s.name for s in stages] == RESNET
    assert [s.path for s in stages] == ["0.2", "0.4", "0.5", "0.6", "0.7", "1.5"]
    assert isinstance(stages[-1].module, nn.ReLU)  # the last hidden activation, not the logits
    assert set(stages[-1].params) == set(model[1].parameters())


def test_xresnet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fastai.vision.models.xresnet import xresnet18
    stages = find_stages(xresnet18())
    assert [s.name for s in stages] == RESNET
    assert stages[0].path == "2.2"


def test_vgg():
    stages = find_stages(torchvision.models.vgg11())
    assert paths(stages) == {
        **{"block1": "features.1", "block2": "features.4", "block3": "features.9", "block4": "features.14"},
        **{"block5": "features.19", "fc1": "classifier.1", "fc2": "classifier.4", "head": "classifier.6"},
    }
    assert all(isinstance(s.module, nn.ReLU) for s in stages[:-1])


def test_vision_transformer():
    model = tiny_vit()
    stages = find_stages(model)
    assert [s.name for s in stages] == ["stem", "block1", "block2", "block3", "head"]
    assert stages[0].path == "conv_proj"
    assert any(p is model.encoder.pos_embedding for p in stages[0].params)
    assert set(stages[1].params) == set(model.encoder.layers[0].parameters())
    assert stages[-1].path == "heads.head"


def test_many_blocks_are_spread_evenly():
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 30, enable_nested_tensor=False)
    stages = find_stages(model)
    assert len(stages) == MAX_STAGES
    assert [stages[0].path, stages[-1].path] == ["layers.0", "layers.29"]
    gaps = [int(b.name[5:]) - int(a.name[5:]) for a, b in pairwise(stages)]
    assert set(gaps) <= {2, 3}


def test_gpt_with_tied_head():
    model = Gpt()
    stages = find_stages(model)
    assert paths(stages) == {"stem": "wte", "block1": "h.0", "block2": "h.1", "block3": "h.2", "head": "lm_head"}
    assert set(stages[0].params) == {model.wte.weight, model.wpe.weight}  # the tied matrix is counted where it comes first
    assert set(stages[-1].params) == set(model.ln_f.parameters())


def test_bert_and_timm_shapes():
    assert paths(find_stages(Bert())) == {
        **{"stem": "embeddings.word", "block1": "encoder.layer.0", "block2": "encoder.layer.1", "head": "classifier"}
    }
    assert [s.path for s in find_stages(TimmConvNeXt())] == [
        *("stem.0", "stages.0", "stages.1", "stages.2", "stages.3", "head"),
    ]


def test_recurrent_net():
    model = nn.ModuleDict({"embed": nn.Embedding(10, 4), "rnn": nn.LSTM(4, 8, 2), "out": nn.Linear(8, 3)})
    assert paths(find_stages(model)) == {"stem": "embed", "rnn1": "rnn", "head": "out"}


def test_mlp_with_and_without_activation_modules():
    assert paths(find_stages(mlp())) == {"fc1": "1", "fc2": "3", "head": "4"}
    linear = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2))
    assert paths(find_stages(linear)) == {"fc1": "0", "fc2": "1", "head": "2"}


def test_fallbacks():
    assert [s.path for s in find_stages(Odd())] == ["part.act", "c"]
    assert [s.path for s in find_stages(Odd(nn.Identity))] == ["part.a", "b", "c"]

    class FancyGELU(nn.Module):  # another package's activation: known by its name
        pass

    assert [s.path for s in find_stages(Odd(FancyGELU))] == ["part.act", "c"]


def test_attention_is_observed_whole():  # its out_proj is never called as a module
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.MultiheadAttention(8, 2))
    assert paths(find_stages(model)) == {"fc1": "1", "head": "2"}


def test_rows_that_are_a_detail_are_not_the_stages():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stages = find_stages(torchvision.models.googlenet(init_weights=False))
    assert len(stages) > len(RESNET)  # its branches are rows of blocks too, yet no ResNet stages


MODELS = {
    "resnet18": torchvision.models.resnet18,
    "fastai": lambda: fastai_model(torchvision.models.resnet18),
    "alexnet": torchvision.models.alexnet,
    "mobilenet_v2": torchvision.models.mobilenet_v2,
    "densenet": lambda: torchvision.models.DenseNet(growth_rate=4, block_config=(2, 2, 2, 2), num_init_features=8),
    "efficientnet": torchvision.models.efficientnet_b0,
    "swin": torchvision.models.swin_t,
    "vit": tiny_vit,
    "transformer": lambda: nn.Transformer(8, 2, 2, 2, 16, batch_first=True),
    "gpt": Gpt,
    "bert": Bert,
    "mlp": mlp,
    "odd": Odd,
    "linear": lambda: nn.Linear(3, 2),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_weight_belongs_to_one_stage_and_every_stage_is_found_by_its_path(name):
    model = MODELS[name]()
    stages = find_stages(model)
    owned = [id(p) for s in stages for p in s.params]
    assert sorted(owned) == sorted(id(p) for p in model.parameters())
    assert all(model.get_submodule(s.path) is s.module for s in stages)
    assert len({s.name for s in stages}) == len(stages)
    assert len(stages) <= MAX_STAGES + 2


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda m: torch.compile(m, backend="eager")])
def test_wrappers_are_looked_through(wrap):
    model = mlp()
    assert unwrap(wrap(model)) is unwrap(nn.DataParallel(wrap(model))) is model
    assert [s.path for s in find_stages(wrap(model))] == [s.path for s in find_stages(model)]


def test_own_choice_by_name_module_and_label():
    model = torchvision.models.resnet18()
    stages = find_stages(model, ["layer4", model.layer1])
    assert [s.name for s in stages] == ["layer1", "layer4"]  # in the model's order
    assert set(stages[1].params) == set(model.layer4.parameters())
    assert paths(find_stages(model, {"early": "layer1", "late": model.layer4})) == {"early": "layer1", "late": "layer4"}
    assert paths(find_stages(model, "layer2")) == {"layer2": "layer2"}


def test_chosen_activation_owns_the_weights_before_it_in_its_parent():
    model = torchvision.models.vgg11()
    first, second = find_stages(model, ["features.1", "features.4"])
    assert set(first.params) == set(model.get_submodule("features.0").parameters())
    assert set(second.params) == set(model.get_submodule("features.3").parameters())


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (["layr1"], r"no submodule named 'layr1'. Did you mean 'layer1'.*To see all: print\(model\)"),
        (
            ["zzzzzz"],
            r"no submodule named 'zzzzzz'. The nearest that it has are ('[\w.]+', ){4}'[\w.]+'\. To see all: print\(model\)",
        ),
        ([nn.ReLU()], "the ReLU given in stages is not a submodule of the model"),
        ([], "stages is empty"),
        (["layer1", "layer1"], "'layer1' 2 times"),
    ],
)
def test_wrong_choice_says_what_to_do(stages, message):
    with pytest.raises(ValueError, match=message):
        find_stages(torchvision.models.resnet18(), stages)


@pytest.mark.parametrize(
    ("stages", "got"), [(3, "3"), ([1.5], "1.5 among"), ({"a": 1}, "1 for 'a'"), ({0: "fc"}, "'fc' for 0"), ([["fc"]], r"\['fc'\]")]
)
def test_a_choice_is_a_name_or_a_module(stages, got):
    with pytest.raises(TypeError, match=f"^stages must be names or modules, or a mapping of label to either, got {got}"):
        find_stages(torchvision.models.resnet18(), stages)


def test_the_names_of_a_net_of_numbers_are_listed_for_who_guesses():
    with pytest.raises(ValueError, match=r"named 'layer1'\. The nearest that it has are '1', '[02]', '[02]'\. To see all"):
        find_stages(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), ["layer1"])
    with pytest.raises(ValueError, match=r"named 'layer1'\. It has no submodules$"):
        find_stages(nn.Linear(3, 2), ["layer1"])


def test_nothing_to_observe_says_what_to_do():
    with pytest.raises(ValueError, match=r"Name the submodules to observe, stages=.*activations=0"):
        find_stages(nn.Sequential(nn.Flatten(), nn.Identity()))


def test_lazy_layers_have_no_size_yet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stages = find_stages(nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.Linear(8, 2)))
    assert [s.numel for s in stages] == [0, 18]


def test_groups_of_fastai_default_split():
    model = torchvision.models.resnet18()
    early = [model.conv1, model.bn1, model.layer1, model.layer2]
    groups = [[p for m in part for p in m.parameters()] for part in (early, [model.layer3, model.layer4], [model.fc])]
    stages = find_stages(model)
    assert assign_groups(stages, groups) == (0, 0, 0, 1, 1, 2)
    assert [stages_of_group(stages, g) for g in groups] == [("conv1", "conv2_x", "conv3_x"), ("conv4_x", "conv5_x"), ("head",)]


def test_largest_share_decides_the_group_and_missing_weights_give_none():
    stages = find_stages(mlp())
    biases = [p for s in stages for p in s.params if p.ndim == 1]
    weights = [p for s in stages for p in s.params if p.ndim == 2]
    assert assign_groups(stages, [biases, weights]) == (1, 1, 1)
    assert assign_groups(stages, [biases]) == (0, 0, 0)
    assert assign_groups(stages, [list(stages[0].params)]) == (0, None, None)
    assert stages_of_group(stages, biases) == ("fc1", "fc2", "head")
