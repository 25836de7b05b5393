"""Families of models: what is written to each, and how it is cut for tensor parallelism."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

import initium
from architectures import bert, llama, mamba, mixtral, pictures, vit, words

# How a module is cut over the ranks of tensor parallelism:
#   column, row     two linear layers: the output of the one stays in parts, which the other takes
#   words           an embedding, by rows
#   whole column    a linear layer by the rows of its weight; its input and output are whole
#   whole row       a linear layer by the columns of its weight; its input and output are whole
#   {name: dim}     parameters of its own by a dimension, gathered when it runs
Cut = str | dict[str, int]


class Marks(NamedTuple):
    """Names of tensors (of the last two, patterns) that get an initializer of another sort."""

    orthogonal: str
    sparse: str
    scaled: str
    constant: str
    kaiming: str


@dataclass(frozen=True)
class Family:
    """A model of a family.

    Attributes:
        plain: the constructor of transformers.
        batch: what it is trained on.
        blocks: the modules that FSDP wraps, as a pattern.
        cuts: how tensor parallelism cuts modules, by pattern.
        marks: what `crafted` and `rules` write to.
        ties: second names of tensors, by the first.
        heads: over more ranks, tensor parallelism can be set up, but not run: a head would be cut.
    """

    plain: Callable[[], nn.Module]
    batch: Callable[[], dict[str, Tensor]]
    blocks: str
    cuts: dict[str, Cut]
    marks: Marks
    ties: dict[str, str] = field(default_factory=dict)
    heads: int = 8

    def crafted(self) -> nn.Module:
        """The model, then some user code: matrices that are drawn as a whole, and a chain."""
        model = self.plain()
        initium.init.orthogonal_(model.get_parameter(self.marks.orthogonal), gain=0.5)
        initium.init.sparse_(model.get_parameter(self.marks.sparse), sparsity=0.3)
        with torch.no_grad():
            model.get_parameter(self.marks.scaled).square_().sub_(0.125)
        return model

    @property
    def rules(self) -> list[dict]:
        """A config that leaves nothing as it was but what `crafted` has written."""
        marks = self.marks
        of_words = dict(type="TruncNormal", layer="Embedding", std=0.05, a=-0.1, b=0.1)
        return [
            dict(type="Xavier", layer="Linear", distribution="uniform", bias=0.25),
            *([of_words] if self.batch is words else []),
            dict(type="Constant", name=marks.constant, val=1.5),
            dict(type="Kaiming", name=marks.kaiming, mode="fan_in"),
            dict(type="Keep", name=[marks.orthogonal, marks.sparse, marks.scaled]),
        ]


def _cuts(**names: str) -> dict[str, Cut]:
    """Names of modules by how they are cut."""
    return {name: how.replace("_", " ") for how, all in names.items() for name in all.split()}


_ATTENTION = _cuts(
    column=" ".join(f"model.layers.*.self_attn.{x}_proj" for x in "qkv"),
    row="model.layers.*.self_attn.o_proj",
    words="model.embed_tokens",
    whole_column="lm_head",
)
_DENSE = _ATTENTION | _cuts(
    column="model.layers.*.mlp.gate_proj model.layers.*.mlp.up_proj",
    row="model.layers.*.mlp.down_proj",
)
_OF_LLAMA = Marks(
    "model.layers.0.self_attn.q_proj.weight",
    "model.layers.1.mlp.down_proj.weight",
    "model.layers.0.self_attn.v_proj.weight",
    "model.norm.weight",
    "model.layers.*.mlp.up_proj.weight",
)
_LLAMA = Family(
    partial(llama, num_key_value_heads=2), words, "model.layers.*", _DENSE, _OF_LLAMA, heads=2
)
_TIED_LLAMA = Family(
    partial(llama, tie_word_embeddings=True),
    words,
    "model.layers.*",
    _DENSE,
    _OF_LLAMA,
    ties={"model.embed_tokens.weight": "lm_head.weight"},
)
_VIT = Family(
    vit,
    pictures,
    "vit.layers.*",
    _cuts(
        column="vit.layers.*.attention.q_proj vit.layers.*.attention.k_proj "
        "vit.layers.*.attention.v_proj vit.layers.*.mlp.fc1",
        row="vit.layers.*.attention.o_proj vit.layers.*.mlp.fc2",
        whole_row="classifier",
    ),
    Marks(
        "vit.layers.1.mlp.fc1.weight",
        "classifier.weight",
        "vit.embeddings.position_embeddings",
        "vit.layernorm.weight",
        "vit.embeddings.patch_embeddings.projection.weight",
    ),
)
_BERT = Family(
    bert,
    words,
    "bert.encoder.layer.*",
    _cuts(
        column="bert.encoder.layer.*.attention.self.query bert.encoder.layer.*.attention.self.key "
        "bert.encoder.layer.*.attention.self.value bert.encoder.layer.*.intermediate.dense",
        row="bert.encoder.layer.*.attention.output.dense bert.encoder.layer.*.output.dense",
        words="bert.embeddings.word_embeddings",
        whole_column="cls.predictions.decoder",
    ),
    Marks(
        "bert.encoder.layer.0.output.dense.weight",
        "bert.encoder.layer.1.attention.self.key.weight",
        "bert.encoder.layer.1.attention.self.query.weight",
        "**.LayerNorm.weight",
        "bert.encoder.layer.*.intermediate.dense.weight",
    ),
    ties={
        "bert.embeddings.word_embeddings.weight": "cls.predictions.decoder.weight",
        "cls.predictions.bias": "cls.predictions.decoder.bias",
    },
)
_MIXTRAL = Family(
    mixtral,
    words,
    "model.layers.*",
    {**_ATTENTION, "model.layers.*.mlp.experts": dict(gate_up_proj=0, down_proj=0)},
    Marks(
        "model.layers.0.mlp.experts.down_proj",
        "model.layers.1.mlp.gate.weight",
        "model.layers.1.mlp.experts.down_proj",
        "model.norm.weight",
        "model.layers.0.mlp.experts.gate_up_proj",
    ),
    heads=4,
)
_OF_MIXER = ("A_log", "D", "conv1d.weight", "conv1d.bias", "dt_proj.weight", "dt_proj.bias")
_MAMBA = Family(
    mamba,
    words,
    "backbone.layers.*",
    {
        **_cuts(words="backbone.embeddings", whole_column="lm_head"),
        **_cuts(whole_column="backbone.layers.*.mixer.in_proj"),
        **_cuts(whole_row="backbone.layers.*.mixer.out_proj"),
        "backbone.layers.*.mixer": dict.fromkeys(_OF_MIXER, 0),
    },
    Marks(
        "backbone.layers.0.mixer.in_proj.weight",
        "backbone.layers.1.mixer.x_proj.weight",
        "backbone.layers.1.mixer.dt_proj.weight",
        "backbone.norm_f.weight",
        "backbone.layers.*.mixer.conv1d.weight",
    ),
    ties={"backbone.embeddings.weight": "lm_head.weight"},
)
FAMILIES = {
    "llama": _LLAMA,
    "tied llama": _TIED_LLAMA,
    "vit": _VIT,
    "bert": _BERT,
    "mixtral": _MIXTRAL,
    "mamba": _MAMBA,
}
