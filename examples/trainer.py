"""transformers' Trainer: python trainer.py"""

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

from initium.integrations.transformers import CheckStart, from_config

config = BertConfig(
    hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, vocab_size=99
)
rules = [dict(type="Normal", name="classifier.weight", std=0.001)]
model = from_config(config, rules, auto=BertForSequenceClassification, seed=0)

tokens = torch.randint(99, (32, 12), generator=torch.Generator().manual_seed(0))
dataset = [dict(input_ids=row, labels=row[0] % 2) for row in tokens]
arguments = TrainingArguments(
    output_dir="out",
    max_steps=3,
    per_device_train_batch_size=32,
    save_strategy="no",
    report_to="none",
    use_cpu=True,
    disable_tqdm=True,
)
check = CheckStart()
trainer = Trainer(model=model, args=arguments, train_dataset=dataset, callbacks=[check])
loss = trainer.train().training_loss
print(f"{check.checked} tensors were as planned; loss {loss:.3f}")
