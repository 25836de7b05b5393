"""The real transformers: from scratch, after from_pretrained, and within a Trainer."""

import warnings

import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    Trainer,
    TrainingArguments,
)

import initium
from initium.errors import InitError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from initium.integrations.transformers import CheckStart, from_config, from_pretrained

CONFIG = BertConfig(
    hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, vocab_size=50
)
HEAD = [dict(type="Normal", layer="Linear", std=0.7, bias=2)]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_from_scratch_rules_come_on_top():
    model = from_config(CONFIG, HEAD, seed=1)
    plain = initium.build(lambda: BertModel(CONFIG), seed=1)
    plan = initium.plan_of(model)
    assert plan["pooler.dense.weight"].what == "Normal(mean=0, std=0.7)"
    assert (model.pooler.dense.bias == 2).all()
    assert torch.equal(
        model.embeddings.word_embeddings.weight, plain.embeddings.word_embeddings.weight
    )
    later = from_config(CONFIG, HEAD, seed=1, device="meta")
    initium.materialize(later)
    assert same(model.state_dict(), later.state_dict())


@pytest.fixture
def saved(tmp_path):
    body = initium.build(lambda: BertModel(CONFIG), seed=9)
    body.save_pretrained(tmp_path)
    return body, str(tmp_path)


def test_only_fresh_tensors_follow_the_rules(saved):
    body, folder = saved
    model, report = from_pretrained(BertForSequenceClassification, folder, HEAD, seed=2)
    assert same(dict(model.bert.state_dict()), dict(body.state_dict()))
    assert [entry.name for entry in report.entries] == ["classifier.weight", "classifier.bias"]
    assert (model.classifier.bias == 2).all()
    again, _ = from_pretrained(BertForSequenceClassification, folder, HEAD, seed=2)
    assert torch.equal(model.classifier.weight, again.classifier.weight)
    assert 0.4 < model.classifier.weight.std() < 1  # 32 values


def test_tensors_of_another_shape_are_fresh(saved):
    body, folder = saved
    model, report = from_pretrained(
        BertModel, folder, [dict(type="Constant", layer="Embedding", val=4)], seed=2,
        ignore_mismatched_sizes=True, vocab_size=60,
    )  # fmt: skip
    assert [entry.name for entry in report.entries] == ["embeddings.word_embeddings.weight"]
    assert (model.embeddings.word_embeddings.weight == 4).any()
    types = body.embeddings.token_type_embeddings.weight
    assert torch.equal(model.embeddings.token_type_embeddings.weight, types)


def test_rules_without_a_fresh_tensor_are_an_error_in_strict_mode(saved):
    _, folder = saved
    with pytest.raises(InitError, match=r"no rule means a fresh tensor of Bert.*classifier\.bias"):
        from_pretrained(
            BertForSequenceClassification,
            folder,
            dict(type="Normal", layer="Embedding"),
            strict=True,
        )


def trainer(model, folder, check, **options):
    tokens = torch.randint(50, (8, 5), generator=torch.Generator().manual_seed(0))
    rows = [dict(input_ids=row, labels=row[0] % 2) for row in tokens]
    arguments = TrainingArguments(
        output_dir=str(folder), max_steps=2, per_device_train_batch_size=4, report_to="none",
        use_cpu=True, disable_tqdm=True, **{"save_strategy": "no", **options},
    )  # fmt: skip
    return Trainer(model=model, args=arguments, train_dataset=rows, callbacks=[check])


@pytest.mark.filterwarnings("ignore")
def test_a_trainer_checks_the_start_and_not_what_is_resumed(tmp_path):
    model = from_config(CONFIG, auto=BertForSequenceClassification, seed=1)
    check = CheckStart()
    trainer(model, tmp_path, check, save_strategy="steps", save_steps=1).train()
    assert check.checked > 20

    again = from_config(CONFIG, auto=BertForSequenceClassification, seed=1)
    resumed = CheckStart()
    trainer(again, tmp_path, resumed).train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    assert resumed.checked is None
    assert same(again.state_dict(), model.state_dict())


@pytest.mark.filterwarnings("ignore")
def test_a_trainer_stops_where_the_start_is_another(tmp_path):
    model = from_config(CONFIG, auto=BertForSequenceClassification, seed=1)
    model.classifier.weight.data[0, 0] = float("nan")
    with pytest.raises(InitError, match=r"classifier\.weight: 1 values are NaN"):
        trainer(model, tmp_path, CheckStart()).train()


@pytest.mark.filterwarnings("ignore")
def test_accelerate_prepares_what_was_built():
    accelerate = pytest.importorskip("accelerate")
    model = from_config(CONFIG, seed=1)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    prepared, _ = accelerate.Accelerator(cpu=True).prepare(model, optimizer)
    assert same(dict(prepared.state_dict()), before)
    assert initium.verify(prepared, initium.plan_of(model)) > 10
