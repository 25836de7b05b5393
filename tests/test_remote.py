"""Pretrained from a server: the model is loaded whole, or is as it was; headers alone are enough to look."""

import hashlib
import io
import json
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save
from torch import nn

import initium
from checkpoints import bits, load, same
from initium import InitError, initialize
from initium.checkpoint import inspect_checkpoint
from initium.checkpoint.sources import retry
from misbehaving import Misbehaving


@pytest.fixture(scope="module")
def server():
    with Misbehaving() as server:
        yield server


@pytest.fixture
def web(server, tmp_path, monkeypatch):
    monkeypatch.setenv("INITIUM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("INITIUM_OFFLINE", raising=False)
    monkeypatch.setattr(retry, "DELAY", 0.002)
    server.paths.clear()
    return server


def net():
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 64, 7), fc=nn.Linear(64, 64)))


def saved(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


@pytest.fixture
def state():
    return bits(net())


def named_by_hash(body, suffix):
    return f"/net-{hashlib.sha256(body).hexdigest()[:8]}{suffix}"


@pytest.mark.parametrize(("write", "suffix"), [(saved, ".pth"), (save, ".safetensors")])
def test_a_model_from_a_url(write, suffix, web, state, caplog):
    body = write(state)
    url = web.serve(named_by_hash(body, suffix), body)
    model = net()
    initialize(model, load(url), strict=True)
    assert same(bits(model), state)
    messages = [record.getMessage() for record in caplog.records]
    assert messages[:2] == [f"load model from: {url}", f"http loads checkpoint from path: {url}"]
    initialize(model, load(url), strict=True)
    assert len(web.paths[url.removeprefix(web.url)].requests) == 1
    assert initium.verify(model) == 4


BAD = {
    "another hash": dict(path="/net-01234567.pth"),
    "404": dict(status=404),
    "403": dict(status=403),
    "500": dict(status=500),
    "a page": dict(body=b"<!doctype html><p>log in", mimetype="text/html"),
    "a page that lies": dict(body=b"<html><body>busy</body></html>"),
    "it dies": dict(dies_at=1000),
    "cut": dict(cut=300),
    "no checkpoint": dict(body=b"0123456789" * 99),
    "nothing": dict(body=b""),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize(("write", "suffix"), [(saved, ".pth"), (save, ".safetensors")])
def test_whatever_the_server_does_the_model_and_the_cache_are_as_before(
    kind, write, suffix, web, state, tmp_path
):
    how = dict(BAD[kind])
    body = how.pop("body", write(state))
    body = body[: len(body) - how.pop("cut", 0)]
    url = web.serve(how.pop("path", f"/net{suffix}"), body, **how)
    model = net()
    before = bits(model)
    rules = [dict(type="Constant", val=1, layer=["Linear", "Conv2d"]), load(url)]
    with pytest.raises(InitError) as caught:
        initialize(model, rules)
    assert "http://127.0.0.1" in str(caught.value)
    assert same(bits(model), before)
    left = [p for p in (tmp_path / "cache" / "downloads").rglob("*") if p.is_file()]
    names = [p.name for p in left if ".locks" not in p.parts]
    assert all(".part" in name for name in names)
    assert not names or kind in ("it dies", "500")  # which can be gone on with


def test_shards_are_fetched_from_beside_their_index_and_only_those_that_are_wanted(web, state):
    parts = {"conv": {}, "fc": {}}
    for key, tensor in state.items():
        parts[key.split(".")[0]][f"net.{key}"] = tensor
    weight_map = {k: f"{part}.safetensors" for part, content in parts.items() for k in content}
    url = web.serve(
        "/m/model.safetensors.index.json", json.dumps({"weight_map": weight_map}).encode()
    )
    for part, content in parts.items():
        web.serve(f"/m/{part}.safetensors", save(content))
    model = net()
    initialize(model, load(url, prefix="net.fc", to="fc"), strict=False)
    assert torch.equal(model.fc.weight, state["fc.weight"])
    assert web.paths["/m/conv.safetensors"].requests == []
    initialize(model, load(url, prefix="net"), strict=True)
    assert same(bits(model), state)
    evil = {"weight_map": {"fc.weight": "../../secret.safetensors"}}
    url = web.serve("/e/model.safetensors.index.json", json.dumps(evil).encode())
    with pytest.raises(InitError, match="may lead out of the folder"):
        initialize(model, load(url))


@pytest.mark.parametrize(("write", "suffix"), [(saved, ".pth"), (save, ".safetensors")])
@pytest.mark.parametrize("ranges", [True, False])
def test_inspect_fetches_the_header_alone_where_the_server_can_send_parts(
    write, suffix, ranges, web, tmp_path
):
    state = {f"layers.{i}.weight": torch.zeros(500, 500) for i in range(12)}  # 12 MB
    body = write(state)
    url = web.serve(f"/big{suffix}", body, ranges=ranges, pause=0.001)
    found = inspect_checkpoint(url)
    assert {name: entry.shape for name, entry in found.entries.items()} == dict.fromkeys(
        state, (500, 500)
    )
    cached = list((tmp_path / "cache").rglob(f"big{suffix}"))
    assert bool(cached) is not ranges
    assert "0 … 11 (12 alike)  12 tensors, 11.4 MiB" in str(found)


def test_inspect_of_what_is_not_there(web):
    with pytest.raises(InitError, match=r"there is no file http://127.*/x\.pth"):
        inspect_checkpoint(f"{web.url}/x.pth")


def test_offline_takes_the_cache_only(web, state):
    url = web.serve("/x.pth", saved(state))
    with pytest.raises(InitError, match="offline=True"):
        initialize(net(), load(url, offline=True))
    initialize(net(), load(url))
    model = net()
    initialize(model, load(url, offline=True), strict=True)
    assert same(bits(model), state)
