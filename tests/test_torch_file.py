"""Files of torch.save: read exactly, lazily, and without running anything that they name."""

import argparse
import builtins
import codecs
import collections
import contextlib
import datetime
import enum
import functools
import io
import os
import pathlib
import pickle
import pickletools
import struct
import subprocess
import sys
import tracemalloc
import types
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from initium import InitError
from initium.checkpoint.blob import Blob
from initium.checkpoint.entry import Entry, Given, Unreadable
from initium.checkpoint.formats import machine, pickles
from initium.checkpoint.formats.modules import state_dict_of
from initium.checkpoint.formats.pickles import read_pickle
from initium.checkpoint.formats.rebuilding import rebuild
from initium.checkpoint.formats.storages import Storage
from initium.checkpoint.formats.torch_file import read_torch
from initium.checkpoint.formats.values import Global, Opaque
from initium.checkpoint.region import Region

FORMATS = {"zip": True, "legacy": False}
both = pytest.mark.parametrize("format", FORMATS)


class Bytes(Blob):
    """A file in memory, that counts what is read of it."""

    def __init__(self, data):
        self.name, self.size, self.data = "x.pth", len(data), data
        self.count = self.reads = 0

    def read_into(self, offset, buffer):
        view = memoryview(buffer).cast("B")
        if offset < 0 or offset + len(view) > self.size:
            raise InitError("it ends too early")
        view[:] = self.data[offset : offset + len(view)]
        self.count += len(view)
        self.reads += 1


def dump(value, format="zip", **kw):
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=FORMATS[format], **kw)
    return file.getvalue()


def read(value, format="zip", **kw):
    return read_torch(Bytes(dump(value, format, **kw)))


def loads(data, **kw):
    return read_pickle(io.BytesIO(data), **kw)


# --- what was happening meanwhile -------------------------------------------------------------

for codec in ("cp437", "raw-unicode-escape", "latin-1"):
    codecs.lookup(codec)  # the standard library imports these when it first needs them
HAPPENED, WATCHING = [], []
HARMFUL = ("import", "exec", "compile", "open", "os.system", "os.exec", "subprocess.Popen",
           "pickle.find_class", "marshal.loads", "socket.connect")  # fmt: skip


def audit(event, args):
    if WATCHING and event in HARMFUL:
        HAPPENED.append((event, args))


@functools.cache
def listen():
    sys.addaudithook(audit)  # for good: Python takes none back


@contextlib.contextmanager
def nothing_happens():
    """No module is imported, no file opened, no code run while this is open."""
    listen()
    modules = set(sys.modules)
    HAPPENED.clear()
    WATCHING.append(1)
    try:
        yield
    finally:
        WATCHING.clear()
    assert not HAPPENED
    assert set(sys.modules) == modules


def test_the_watch_itself_sees_an_unpickler_at_work():
    with pytest.raises(AssertionError), nothing_happens():
        pickle.loads(pickle.dumps(datetime.date(2024, 1, 1)))


# --- exactness --------------------------------------------------------------------------------


def raw(tensor):
    """Its bytes in order; view(torch.uint8) does not go for every stride, nor comparing for NaN."""
    dense = tensor.detach().contiguous()
    start = dense.storage_offset() * dense.itemsize
    return dense.untyped_storage().tolist()[start : start + dense.nbytes]


def same(entry, tensor):
    assert isinstance(entry, Region), entry
    got = entry.read()
    assert (got.dtype, got.shape, entry.shape) == (tensor.dtype, tensor.shape, tensor.shape)
    assert raw(got) == raw(tensor)
    if entry.stride is not None:
        assert entry.stride == tensor.stride()


def check(value, plain):
    """The same containers, with entries in place of tensors."""
    if isinstance(plain, torch.Tensor):
        same(value, plain)
    elif isinstance(plain, dict):
        assert type(value) is dict and list(value) == list(plain)
        [check(value[key], plain[key]) for key in plain]
    elif isinstance(plain, (list, tuple)):
        assert type(value) is (list if isinstance(plain, list) else tuple)
        assert len(value) == len(plain)
        [check(*pair) for pair in zip(value, plain, strict=True)]
    else:
        assert type(value) is type(plain) and value == plain


UNSAVED = [f"{s}int{n}" for s in ("", "u") for n in range(1, 8)]  # torch.save knows none of these
DTYPES = sorted(
    {d for d in vars(torch).values() if isinstance(d, torch.dtype)}
    - {getattr(torch, name, None) for name in UNSAVED}
    - {torch.qint8, torch.quint8, torch.qint32, torch.quint4x2, torch.quint2x4},
    key=str,
)


@both
@pytest.mark.filterwarnings("ignore:ComplexHalf")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_bit_for_bit(dtype, format):
    bits = torch.randint(0, 256, (6, 4, dtype.itemsize), dtype=torch.uint8)
    tensor = (bits % 2 if dtype == torch.bool else bits).view(dtype).squeeze(-1)
    data = dump({"w": tensor}, format)
    check(read_torch(Bytes(data)), {"w": tensor})
    if format == "zip" or dtype not in torch.storage._new_dtypes():  # torch saves, but cannot load
        check(read_torch(Bytes(data)), torch.load(io.BytesIO(data)))


def test_the_dtypes_are_those_that_torch_saves():
    assert {torch.bfloat16, torch.float8_e4m3fn, torch.complex64, torch.uint64} < set(DTYPES)


BASE = torch.arange(240, dtype=torch.float32).view(2, 3, 40)
TENSORS = {
    "transposed": BASE.transpose(0, 2),
    "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "offset": BASE[1, 2, 7:],
    "steps": BASE[:, ::2, 3::7],
    "expanded": torch.randn(3, 1).expand(3, 5),
    "overlapping": BASE.view(-1)[5:].as_strided((4, 4), (2, 3)),
    "scalar": torch.tensor(3.5),
    "empty": torch.empty(0),
    "empty of shape": torch.empty(3, 0, 2),
    "empty slice": BASE[:, :0],
    "ones": torch.randn(4)[:, None, None].transpose(1, 2),
    "parameter": nn.Parameter(torch.randn(3, 2)),
    "frozen": nn.Parameter(torch.arange(4), requires_grad=False),
    "buffer": nn.Buffer(torch.randn(3)),
    "gradient": torch.randn(3, requires_grad=True),
    "imaginary": torch.randn(3, dtype=torch.cfloat).imag,
    "bool": torch.tensor([True, False]),
}
TENSORS["parameter"].note = "attributes make it _rebuild_parameter_with_state"


@both
@pytest.mark.parametrize("name", TENSORS)
def test_every_layout(name, format):
    check(read(TENSORS[name], format), TENSORS[name])


@both
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_view_of_a_storage(format, data):
    shape = data.draw(st.lists(st.integers(0, 4), max_size=4))
    stride = data.draw(st.lists(st.integers(0, 9), min_size=len(shape), max_size=len(shape)))
    offset = data.draw(st.integers(0, 20))
    tensor = torch.arange(150).as_strided(shape, stride, offset)
    entry = read(tensor, format)
    check(entry, tensor)
    assert (entry.stride is None) == tensor.is_contiguous()


@both
def test_contiguous_regions_are_said_to_be_so_and_tied_ones_share_their_bytes(format):
    tied = torch.randn(4, 4)
    entries = read({"a": tied, "b": tied, "row": tied[1], "t": tied.t()}, format)
    assert (entries["a"].offset, entries["a"].stride) == (entries["b"].offset, None)
    assert entries["row"].offset == entries["a"].offset + 16 and entries["row"].stride is None
    assert entries["t"].offset == entries["a"].offset and entries["t"].stride == (1, 4)


@both
@pytest.mark.parametrize("protocol", range(1, 6))
def test_plain_data_and_every_protocol(format, protocol):
    plain = {
        "nested": [({"w": BASE}, [BASE[0], None]), (), [], {}],
        "numbers": [True, False, 0, 1, 255, 65536, -1, 2**31, -(2**40), 2**200, 1.5, 1e300, 2j],
        "text": ["", "ü", "x" * 300, "\ud800", "two\nlines"],
        "bytes": [b"", b"\xff\x00", bytes(range(256)) * 300],
        "mutable": [bytearray(b""), bytearray(b"abc"), {1, 2}, set()],
        "frozen": [frozenset({1, (2, 3)}), frozenset()],
        ("a", 1): {None: 1, 2.5: 2, b"k": 3, True: 4, frozenset({1}): 5},
    }
    check(read(plain, format, pickle_protocol=protocol), plain)
    twice = loads(pickle.dumps([one := ["x"], one], protocol))
    assert twice[0] is twice[1] and twice[0] is not one


@both
def test_ordered_and_default_dicts_are_dicts_and_sizes_tuples(format):
    state = collections.OrderedDict(w=BASE, b=BASE[0])
    state._metadata = {"": {"version": 1}}
    check(read(state, format), {"w": BASE, "b": BASE[0]})
    table = collections.defaultdict(list, a=[1])
    check(read([table, collections.defaultdict()], format), [{"a": [1]}, {}])
    check(read({"shape": BASE.shape}, format), {"shape": (2, 3, 40)})
    assert read(torch.bfloat16, format) == Global("torch.bfloat16")


def test_dicts_of_python_2_come_as_pairs_and_its_text_as_bytes():
    # OrderedDict([['k', 1]]) as Python 2.7 wrote it, and a str with an umlaut in UTF-8
    assert loads(b"\x80\x02ccollections\nOrderedDict\nq\x00]q\x01]q\x02(U\x01kK\x01ea\x85Rq\x03.") == {"k": 1}  # fmt: skip
    assert loads(b"\x80\x02U\x02\xc3\xbc.") == "ü"
    assert loads(b"\x80\x02U\x01\xfc.") == "ü"
    assert loads(b"\x80\x02c__builtin__\nset\n]K\x07a\x85R.") == {7}
    with pytest.raises(InitError):
        loads(b"S'\\q'\n.")  # a warning of pickletools


@both
def test_nothing_of_a_tensor_is_read_before_it_is_asked_for(format):
    blob = Bytes(dump({"w": torch.zeros(1 << 20), "v": torch.zeros(3)}, format))
    with nothing_happens():
        entries = read_torch(blob)
    assert blob.count < 100_000
    entries["v"].read()
    assert blob.count < 100_000


# --- what people's trainers write -------------------------------------------------------------


@pytest.fixture
def absent():
    """Classes of packages that are there while the file is written, and gone afterwards."""
    made = []

    def make(path, base=object, cls=None):
        module, _, name = path.rpartition(".")
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            full = ".".join(parts[:end])
            if full not in sys.modules:
                sys.modules[full] = types.ModuleType(full)
                made.append(full)
        cls = cls or type(name, (base,), {})
        cls.__module__ = module
        setattr(sys.modules[module], name, cls)
        return cls

    make.forget = lambda: [sys.modules.pop(name) for name in made if name in sys.modules]
    yield make
    make.forget()


def adam(model):
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(2, 3)).sum().backward()
    optimizer.step()
    return optimizer.state_dict()


@both
def test_a_checkpoint_of_openmmlabs_runner(absent, format):
    history = absent("mmengineX.logging.history_buffer.HistoryBuffer")()
    vars(history).update(
        _log_history=np.arange(5.0), _count_history=np.ones(5, dtype=np.int64), _max_length=10**6
    )
    config = absent("mmengineX.config.config.ConfigDict", base=dict)(type="SGD")
    status = absent("mmengineX.Status", cls=enum.Enum("Status", "A B"))
    model = nn.Linear(3, 2)
    content = {
        "meta": {
            "time": datetime.datetime.now(),
            "cfg": "a = 1",
            "seed": np.int64(3),
            "opt": config,
        },
        "message_hub": {
            "log_scalars": collections.OrderedDict({"train/loss": history}),
            "runtime_info": {"epoch": 3, "kind": status.B},
        },
        "state_dict": model.state_dict(),
        "optimizer": adam(model),
        "param_schedulers": [{"milestones": collections.Counter({3: 1}), "_step_count": 2}],
    }
    data = dump(content, format)
    absent.forget()
    with nothing_happens():
        value = read_torch(Bytes(data))
    check(value["state_dict"], dict(model.state_dict()))
    check(value["optimizer"], content["optimizer"])
    assert value["meta"]["cfg"] == "a = 1" and value["meta"]["time"].name == "datetime.datetime"
    buffer = value["message_hub"]["log_scalars"]["train/loss"]
    assert buffer.name == "mmengineX.logging.history_buffer.HistoryBuffer"
    assert buffer.state["_max_length"] == 10**6
    assert buffer.state["_log_history"].name.endswith("multiarray._reconstruct")
    assert value["meta"]["opt"].items == [("type", "SGD")]
    assert value["param_schedulers"][0]["milestones"].args == ({3: 1},)
    assert value["message_hub"]["runtime_info"]["kind"].name == "mmengineX.Status"
    assert state_dict_of(value) is None


@both
def test_checkpoints_of_lightning_and_timm(absent, format):
    callback = absent("lightningX.callbacks.ModelCheckpoint")
    attributes = absent("lightningX.AttributeDict", base=dict)
    model = nn.Linear(3, 2)
    content = {
        "epoch": 2, "metric": np.float32(0.5), "arch": "vit", "metrics": np.float64(2),
        "args": argparse.Namespace(lr=0.1, data=pathlib.PurePosixPath("/data"), n=np.zeros(2)),
        "state_dict": {f"model.{key}": value for key, value in model.state_dict().items()},
        "callbacks": {callback: {"best": torch.tensor(0.25), "dirpath": pathlib.PurePosixPath("/x")},
                      "EarlyStopping{'monitor': 'loss'}": {"wait": 0}},
        "hyper_parameters": attributes(args=argparse.Namespace(size=3)),
        "loops": {"fit_loop": {"state": {}, "progress": {"total": {"ready": 1}}}},
        "misc": [collections.deque([1, 2], 3), functools.partial(min, 3), torch.device("cpu"),
                 range(3), slice(1), torch.strided, min, torch.Generator().get_state(), callback()],
    }  # fmt: skip
    data = dump(content, format)
    absent.forget()
    with nothing_happens():
        value = read_torch(Bytes(data))
    check(value["state_dict"], content["state_dict"])
    assert value["args"].name == "argparse.Namespace" and value["args"].state["lr"] == 0.1
    check(value["callbacks"][Global("lightningX.callbacks.ModelCheckpoint")]["best"], torch.tensor(0.25))  # fmt: skip
    kinds = [getattr(part, "name", None) for part in value["misc"]]
    assert kinds[:3] == ["collections.deque", "functools.partial", "torch.device"]
    assert kinds[-1] == "lightningX.callbacks.ModelCheckpoint"
    assert value["misc"][0].args == ((), 3) and value["misc"][0].items == [1, 2]
    assert (value["epoch"], value["loops"]) == (2, content["loops"])


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
        self.again = self.body[0]
        self.head = nn.Linear(2, 2, bias=False)
        self.head.weight = nn.Parameter(self.head.weight[:, :1])
        self.register_module("empty", None)
        self.register_parameter("absent", None)
        self.register_buffer("scratch", torch.zeros(3), persistent=False)
        self.register_buffer("kept", torch.ones(2))


@both
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_whole_module(absent, format, protocol):
    model = absent("netX.Net", base=Net)()
    data = dump(model, format, pickle_protocol=protocol)
    absent.forget()
    with nothing_happens():
        value = read_torch(Bytes(data))
    check(state_dict_of(value), dict(model.state_dict()))
    assert value.name == "netX.Net" and "scratch" not in model.state_dict()


def module(**members):
    state = {"_parameters": {}, "_buffers": {}, "_modules": {}, **members}
    return Opaque("x.Module", state=state)


def test_modules_within_themselves_and_odd_ones(monkeypatch):
    monkeypatch.setattr("initium.checkpoint.formats.modules._MOST_NAMES", 1 << 20)
    circle = module()
    circle.state["_modules"].update(a=circle, b=circle)
    wide = module(_parameters={"w": Given(BASE, "w")})
    for _ in range(60):
        wide = module(_modules={"a": wide, "b": wide})
    deep = functools.reduce(lambda inner, _: module(_modules={"a": inner}), range(101), module())
    for odd in (circle, wide, deep):
        with pytest.raises(InitError, match=r"^its modules are nested too deeply, or lie within"):
            state_dict_of(odd)
    odd = module(
        _parameters={"w": Opaque("x.Quantised"), 3: 4}, _modules={"m": 5, "n": Opaque("y")}
    )
    found = state_dict_of(odd)
    assert list(found) == ["w"] and found["w"].problem() == "it is a x.Quantised"
    for no_module in (3, {}, Opaque("x"), Opaque("x", state={"_parameters": {}}), Global("x")):
        assert state_dict_of(no_module) is None


# --- tensors without values here --------------------------------------------------------------


UNREADABLE = {
    "it was saved on meta, without values": lambda: torch.empty(3, 2, device="meta"),
    "it is sparse": lambda: torch.eye(3).to_sparse(),
    "it is nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "its values are stored conjugated or negated": lambda: torch.ones(3, dtype=torch.cfloat).conj(),
}


@both
@pytest.mark.filterwarnings("ignore::UserWarning")  # torch on nested tensors
@pytest.mark.parametrize("reason", UNREADABLE)
def test_what_cannot_be_read_says_why(reason, format):
    tensor = UNREADABLE[reason]()
    entry = read({"w": tensor}, format)["w"]
    assert isinstance(entry, Unreadable) and entry.problem() == reason
    assert entry.dtype == tensor.dtype
    assert entry.shape == (() if tensor.is_nested else tuple(tensor.shape))


def test_negated_and_sparse_in_rows_too():
    negated = torch.randn(3, dtype=torch.cfloat).conj().imag
    assert negated.is_neg() and "negated" in read(negated).problem()
    data = (Given(BASE, ""), (3, 3), True)
    entry = rebuild("torch._utils._rebuild_sparse_tensor", (Global("x"), data))
    assert entry.shape == (3, 3) and entry.problem() == "it is sparse"


def place(dtype=torch.float32, nbytes=48, location="cpu"):
    return Storage("s", blob=Bytes(bytes(100)), offset=10, nbytes=nbytes, dtype=dtype, location=location)  # fmt: skip


def v2(storage=None, offset=0, size=(3, 4), stride=(4, 1), *rest):
    args = (storage or place(), offset, size, stride, False, {}, *rest)
    return rebuild("torch._utils._rebuild_tensor_v2", args)


def test_makers_by_hand():
    utils, float32 = "torch._utils.", Global("torch.float32")
    plain = (place(), 2, (5,), (2,))
    for entry in (
        rebuild(f"{utils}_rebuild_tensor", plain),
        rebuild(f"{utils}_rebuild_parameter", (rebuild(f"{utils}_rebuild_tensor", plain), True, {})),
        rebuild("torch._tensor._rebuild_from_type_v2", (Global(f"{utils}_rebuild_tensor"), Global("x.Sub"), plain, {})),
        rebuild("torch.tensor._rebuild_from_type", (Global(f"{utils}_rebuild_tensor"), Global("x.Sub"), plain, {})),
        rebuild(f"{utils}_rebuild_device_tensor_from_cpu_tensor", (rebuild(f"{utils}_rebuild_tensor", plain), float32, "xla", True)),
        rebuild(f"{utils}_rebuild_tensor_v3", (place(torch.uint8), 2, (5,), (2,), True, {}, float32)),
    ):  # fmt: skip
        assert (entry.offset, entry.shape, entry.stride, entry.dtype) == (18, (5,), (2,), torch.float32)  # fmt: skip
    reasons = {
        "it is quantised (torch.qint8)": rebuild(f"{utils}_rebuild_qtensor", (place(torch.qint8), 0, (2,), (1,), (), False, {})),
        "it is quantised (torch.quint8)": v2(place(torch.quint8)),
        "it was saved on meta, without values": v2(place(location="meta")),
        "its storage is not in the file": v2(Opaque("x")),
        "this version of torch does not know its dtype": rebuild(f"{utils}_rebuild_tensor_v3", (*plain, True, {}, Global("torch.float3"))),
        "it is a tensor of the subclass x.Sub": rebuild(f"{utils}_rebuild_wrapper_subclass", (Global("x.Sub"), float32, (2,), (1,), 0, 0, "cpu", False)),
        "it is made by torch._utils._rebuild_xla_tensor, which is not known here": rebuild(f"{utils}_rebuild_xla_tensor", ()),
        "it was saved from a device in another dtype than it has there": rebuild(f"{utils}_rebuild_device_tensor_from_cpu_tensor", (v2(), Global("torch.half"), "xla", True)),
    }  # fmt: skip
    for reason, entry in reasons.items():
        assert isinstance(entry, Unreadable) and entry.problem() == reason
    assert rebuild("os.system", ("true",)) is NotImplemented
    assert rebuild("evil._utils._rebuild_tensor", plain) is NotImplemented
    for metadata in (None, {}, {"conj": False}):
        assert v2(place(), 0, (3, 4), (4, 1), metadata).offset == 10


def test_subclasses_of_subclasses_without_an_end():
    args = (place(), 0, (2,), (1,))
    maker = Global("torch._tensor._rebuild_from_type_v2")
    for _ in range(3000):
        args = (maker, Global("x.Sub"), args, {})
    with pytest.raises(InitError, match="whose maker is not described"):
        rebuild(maker.name, args)


LIES = {
    "too large": dict(size=(3, 5), stride=(5, 1)),
    "too far": dict(offset=1),
    "stride beyond": dict(size=(2,), stride=(12,)),
    "negative offset": dict(offset=-1),
    "negative stride": dict(stride=(-4, 1)),
    "negative size": dict(size=(-3, 4)),
    "huge": dict(size=(2**62, 2**62), stride=(0, 0)),
    "huge and empty": dict(size=(2**62, 2**62, 0), stride=(1, 1, 1)),
    "beyond int64": dict(size=(10**5000,), stride=(0,)),
    "stride beyond int64": dict(size=(1, 2), stride=(10**50, 2)),
    "offset beyond int64": dict(offset=10**5000),
    "bool": dict(size=(True, 4)),
    "float": dict(offset=0.0),
    "no tuple": dict(size=7),
    "of text": dict(size=("3", "4")),
    "many dimensions": dict(size=(1,) * 65, stride=(1,) * 65),
    "lengths differ": dict(size=(3, 4), stride=(4,)),
}


@pytest.mark.parametrize("lie", LIES)
def test_descriptions_that_lie(lie):
    assert v2(place()).shape == (3, 4)
    with pytest.raises(InitError):
        v2(**LIES[lie])


def test_a_tensor_outside_of_its_record_is_damage_not_another_tensors_bytes():
    with pytest.raises(InitError, match=r"^a tensor of the shape \[3, 5\] does not fit into its storage of 48 bytes"):  # fmt: skip
        v2(size=(3, 5), stride=(5, 1))
    for count in (5, 8):
        with pytest.raises(InitError, match=f"_rebuild_tensor_v2 is given {count} arguments"):
            rebuild("torch._utils._rebuild_tensor_v2", (0,) * count)


def test_where_a_storage_lies_is_looked_up_once():
    rows = torch.arange(200.0).view(100, 2)
    blob = Bytes(dump(list(rows)))
    entries = read_torch(blob)
    assert blob.reads < 20
    check(entries, list(rows))


@both
def test_sizes_in_the_file_that_lie(format):
    data = dump({"w": torch.arange(12.0)}, format)
    for old, new in ((b"K\x0c\x85", b"K\x0d\x85"), (b"K\x0ct", b"K\x0dt"), (b"K\x0cN", b"K\xffN")):
        if old in data:
            with pytest.raises(InitError, match="the file is damaged"):
                read_torch(Bytes(data.replace(old, new)))
    assert data.count(b"K\x0c\x85") == 1


def test_storage_views_of_old_files():
    def pid(view, count=12):
        return ("storage", Global("torch.FloatStorage"), "0", "cpu", count, view)

    from initium.checkpoint.formats.storages import storage_id

    storage = storage_id(pid(("1", 2, 4))).storage(Bytes(bytes(99)), 10, 48)
    assert (storage.offset, storage.nbytes) == (18, 16)
    python2 = storage_id((b"storage", Global("torch.cuda.HalfStorage"), b"7", b"cuda:0", 3, None))
    assert (python2.key, python2.location, python2.nbytes) == ("7", "cuda:0", 6)
    bad = [pid(("1", 9, 4)), pid(None, 13), pid((1, 2)), pid(("1", -1, 2)), pid(None, "x")]
    bad += [pid(("1", 0, 2), 13), (*pid(None)[:2], "k" * 1001, "cpu", 1)]
    bad += [pid(None)[:3], 3, ("x",) * 5, (*pid(None)[:2], 3, "cpu", 1)]
    bad += [
        ("storage", kind, "0", "cpu", 1) for kind in (Global("os.FloatStorage"), Opaque("torch.X"))
    ]
    for one in bad:
        with pytest.raises(InitError):
            storage_id(one).storage(Bytes(bytes(99)), 10, 48)


# --- pickles that would run something ---------------------------------------------------------


class Runs:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


class Sets:
    def __setstate__(self, state):
        os.system(state)


def harmful(path):
    """Objects and raw pickles that would create the file `path`."""
    touch = f"touch {path}"
    objects = [
        Runs(os.system, touch),
        Runs(subprocess.check_output, ["touch", str(path)]),
        Runs(builtins.exec, f"open({str(path)!r}, 'w')"),
        Runs(builtins.eval, f"open({str(path)!r}, 'w')"),
        Runs(builtins.open, str(path), "w"),
        Runs(builtins.__import__, "antigravity"),
        Runs(pickle.loads, pickle.dumps(Runs(os.system, touch))),
        Runs(torch.load, str(path)),
        Runs(torch.hub.load, "x/y", "z"),
        Runs(torch.storage._load_from_bytes, b""),
        Runs(functools.partial, os.system, touch),
        Runs(np.save, str(path), np.ones(1)),
    ]
    raw = [
        f"cos\nsystem\n(S'{touch}'\ntR.",
        f"(S'{touch}'\nios\nsystem\n.",
        f"(cos\nsystem\nS'{touch}'\no.",
        f"cos\nsystem\nS'{touch}'\n\x85\x81.",
        f"cposix\nsystem\n(S'{touch}'\nt}}\x92.",
        f"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c{chr(len(touch))}{touch}\x85R.",
        f"ctest_torch_file\nSets\n)\x81S'{touch}'\nb.",
        "ctorch\nload\n.",
        "cthis\nd\n.",  # importing it prints a poem
        "cos\nsystem\n}S'__dict__'\nS'x'\nsb.",
    ]
    return objects, [text.encode("latin-1") for text in raw]


def test_nothing_that_a_pickle_names_is_run(tmp_path):
    path = tmp_path / "made"
    objects, raw = harmful(path)
    files = [dump({"w": BASE, "x": one}, format) for one in objects for format in FORMATS]
    files += [with_pickle(code) for code in raw]
    with nothing_happens():
        values = [read_torch(Bytes(data)) for data in files]
        values += [loads(code) for code in raw]
        values += [loads(pickle.dumps(one, protocol)) for one in objects for protocol in range(6)]
    assert not path.exists() and len(values) == 2 * 12 + 2 * 10 + 6 * 12
    assert values[0]["x"].name == f"{os.name}.system" and values[0]["x"].args == (f"touch {path}",)
    check(values[0]["w"], BASE)
    # the proof that they are harmful
    pickle.loads(raw[0])
    assert path.exists()


# --- damage -----------------------------------------------------------------------------------


def with_pickle(code, **records):
    """An archive of torch.save's form with this data.pkl."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", code)
        for name, data in records.items():
            archive.writestr(f"archive/{name.replace('__', '/')}", data)
    return file.getvalue()


def one_input(data):
    """Read it as every kind of file: an InitError or a result, nothing else."""
    value = None
    for reader in (read_torch, lambda blob: loads(blob.data), lambda blob: read_torch(Bytes(with_pickle(blob.data)))):  # fmt: skip
        with contextlib.suppress(InitError):
            value = reader(Bytes(data))
            state_dict_of(value)
            read_some(value)


def read_some(value, depth=0):
    if isinstance(value, Entry) and value.nbytes < 1 << 16:
        value.read()
    elif isinstance(value, dict) and depth < 5:
        [read_some(one, depth + 1) for one in value.values()]
    elif isinstance(value, (list, tuple)) and depth < 5:
        [read_some(one, depth + 1) for one in value]


SMALL = {
    "w": torch.arange(6, dtype=torch.bfloat16).view(2, 3).t(),
    "u": torch.tensor([1, 2, 65535], dtype=torch.uint16),
    "p": nn.Parameter(torch.ones(2)),
    "o": collections.OrderedDict(a=1, b=[np.float32(2), {1, 2}, b"xy"]),
}
FILES = {format: dump(SMALL, format) for format in FORMATS}


@both
def test_files_that_are_cut_short(format):
    data = FILES[format]
    ends = [*range(0, len(data), 97), *range(len(data) - 30, len(data))]
    for end in ends:
        with pytest.raises(InitError):
            read_torch(Bytes(data[:end]))
    read_some(read_torch(Bytes(data)))


@both
@settings(deadline=None, max_examples=400)
@given(data=st.data())
def test_flipped_bytes(format, data):
    content = bytearray(FILES[format])
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    one_input(bytes(content))


def opcode(op):
    """One opcode with an argument that it can mostly make sense of."""
    code = op.code.encode("latin-1")
    if op.arg is None:
        return st.just(code)
    if "nl" in op.arg.name:
        lines = {"GLOBAL": NAMES, "INST": NAMES, "STRING": ["'a'", "'\\q'", "x"]}
        texts = lines.get(op.name, ["0", "1", "00", "01", "-1", "x", "1e9", "1" * 5000])
        return st.sampled_from(texts).map(lambda text: code + text.encode() + b"\n")
    if op.arg.n > 0:
        small = st.integers(0, 5).map(lambda n: n.to_bytes(op.arg.n, "little"))
        return st.one_of(small, st.binary(min_size=op.arg.n, max_size=op.arg.n)).map(code.__add__)
    width = {"1": 1, "4": 4, "8": 8}[op.arg.name[-1]] if op.arg.name[-1] in "148" else 4
    return st.binary(max_size=4).map(lambda b: code + len(b).to_bytes(width, "little") + b)


NAMES = ["os\nsystem", "torch\nSize", "torch\nfloat32", "torch\nFloatStorage", "collections\nOrderedDict",
         "collections\ndefaultdict", "builtins\nset", "builtins\nbytearray", "_codecs\nencode",
         "builtins\ncomplex", "copy_reg\n_reconstructor", "torch._tensor\n_rebuild_from_type_v2",
         *(f"torch._utils\n_rebuild_{n}" for n in ("tensor", "tensor_v2", "tensor_v3", "qtensor",
           "parameter", "sparse_tensor", "nested_tensor", "wrapper_subclass", "from_type_v2"))]  # fmt: skip
USEFUL = [b"(", b"K\x01", b"]", b"}", b")", b"\x85", b"\x86", b"t", b"R", b"\x81", b"b", b"a", b"e",
          b"s", b"u", b"0", b"2", b"\x94", b"\x8f", b"\x91", b"\x90", b"h\x00", b"q\x00",
          b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"]  # fmt: skip
STREAM = st.lists(
    st.one_of(st.sampled_from(USEFUL), st.one_of([opcode(op) for op in pickletools.opcodes]))
).map(lambda codes: b"".join(codes) + b".")


@settings(deadline=None, max_examples=800)
@given(STREAM)
def test_random_opcodes(code):
    one_input(code)
    with contextlib.suppress(InitError):
        read_some(read_torch(Bytes(with_pickle(code, data__0=bytes(16)))))


ARGS = st.recursive(
    st.one_of(st.integers(-1, 5), st.sampled_from([None, True, "x", 2**62, Global("torch.float32"),
              Global("torch._utils._rebuild_tensor"), Opaque("x"), place(), v2()])),
    lambda inner: st.one_of(st.lists(inner, max_size=4).map(tuple), st.lists(inner, max_size=3),
                            st.dictionaries(st.text(max_size=2), inner, max_size=2)),
    max_leaves=8,
)  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(NAMES), st.lists(ARGS, min_size=2, max_size=8))
def test_random_arguments(name, args):
    with contextlib.suppress(InitError):
        read_some(rebuild(name.replace("\n", "."), tuple(args)))
    with contextlib.suppress(InitError):
        read_some(rebuild(name.replace("\n", "."), (place(), *args)))


def test_an_atheris_harness_reads_its_seeds():
    atheris = pytest.importorskip("atheris")
    assert atheris.FuzzedDataProvider(FILES["zip"]).remaining_bytes() == len(FILES["zip"])
    [one_input(data) for data in FILES.values()]


DAMAGED = {
    b"": "pickle exhausted before seeing STOP",
    b".": "it takes more from its stack than there is",
    b"h\x05.": "it refers to what it has not said yet",
    b"p-1\n.": "negative|more from its stack",
    b"Np-1\n.": "a negative place in its memo",
    b"]t.": "a mark is missing",
    b"(K\x01K\x02\x86e.": "it takes more|appends",
    b"K\x01K\x02a.": "it appends to a int",
    b"K\x01K\x02K\x03s.": "it sets 2 keys and values of a int",
    b"}(K\x01u.": "it sets 1 keys and values of a dict",
    b"](K\x01\x90.": "it adds to a list",
    b"K\x01K\x02R.": "arguments that are no tuple",
    b"K\x01K\x02\x81.": "arguments that are no tuple",
    b"K\x01K\x02\x93.": "a name that is no text",
    b"(o.": "an object without a class",
    b"\x82\x01.": "extension codes or buffers",
    b"\x97.": "extension codes or buffers",
    b"\x80\x06N.": "protocol 6; 0 to 5 are known",
    b"Q.": "more from its stack",
    b"NQ.": "refers to something outside of it",
    b"\xff": "unknown",
    b"I1_x\n.": "invalid literal",
    b"I" + b"1" * 5000 + b"\n.": "integer|digits",
    b"c\xff\nx\n.": "decode",
    b"\x8e" + struct.pack("<Q", 1 << 60) + b"x": "expected",
    b"\x8d" + struct.pack("<Q", 1 << 63) + b"x": "sys.maxsize",
    b"T" + struct.pack("<i", -5) + b"x": "< 0",
    b"\x8b" + struct.pack("<i", 1 << 30) + b"x": "not enough data",
    b"X" + struct.pack("<I", 1 << 31) + b"x": "expected",
}


@pytest.mark.parametrize("code", DAMAGED, ids=repr)
def test_damaged_pickles_say_what_is_wrong_and_take_no_memory(code):
    tracemalloc.start()
    try:
        with pytest.raises(InitError, match=DAMAGED[code]):
            loads(code)
        assert tracemalloc.get_traced_memory()[1] < 5 << 20
    finally:
        tracemalloc.stop()


def doubling(place):
    """Frozensets of the one before and of a tuple of it."""
    place = bytes([place])
    return b")q" + place + b"0" + (b"(h" + place + b"h" + place + b"\x85\x91q" + place + b"0") * 60


MANY = 40_000
DEEP = {
    "marks": b"(" * MANY + b"N.",
    "lists": b"]" * MANY + b"a" * (MANY - 1) + b".",
    "tuples": b")" + b"\x85" * MANY + b".",
    "a tuple as a key": b"})" + b"\x85" * 250_000 + b"Ns.",
    "a tuple in a set": b"\x8f()" + b"\x85" * MANY + b"\x90.",
    "a tuple in a frozenset": b"()" + b"\x85" * MANY + b"\x91.",
    "frozensets": b"(" * 20_000 + b"\x91" * 20_000 + b".",
    "doubling tuples": b"})" + b"2\x86" * 100 + b"Ns.",
    "doubling frozensets": doubling(0) + doubling(1) + b"}h\x00Nsh\x01Ns.",
    "objects": b"cx\ny\n" + b")R" * MANY + b".",
    "objects in objects": b"cx\ny\n" * MANY + b")R" + b"\x85R" * (MANY - 1) + b".",
    "states": b"cx\ny\n)R" + b"cx\ny\n)R" * 2000 + b"b" * 2000 + b".",
    "itself": b"]q\x00h\x00ah\x00h\x00\x86a.",
    "a dict in itself": b"}q\x00K\x01h\x00s.",
    "its own key": b"}q\x00h\x00K\x01s.",
    "a far place in the memo": b"Nr\xff\xff\xff\xff.",
    "a large number as a key": b"}\x8b\x00\x00\x01\x00" + b"\x7f" * 65536 + b"Ns.",
}


@pytest.mark.parametrize("what", DEEP)
def test_deep_and_circular_pickles_are_no_trouble(what):
    value = loads(DEEP[what])
    state_dict_of(value)
    del value


def test_keys_that_python_cannot_hash():
    value = loads(b"}(]K\x01}K\x02cx\ny\n)RK\x03\x8fK\x04(K\x01]tK\x05K\x07K\x06u.")
    assert list(value.values()) == [1, 2, 3, 4, 5, 6]
    assert [type(key).__name__ for key in value] == ["Opaque"] * 5 + ["int"]
    for code in (b"\x8f(]K\x01\x90.", b"(]K\x01\x91.", b"cbuiltins\nset\n](]K\x01e\x85R."):
        assert loads(code) & {1} == {1} and len(loads(code)) == 2
    pairs = loads(b"ccollections\nOrderedDict\n]((]K\x01t(K\x03K\x04te\x85R.")
    assert list(pairs.values()) == [1, 4]
    (large,) = loads(DEEP["a large number as a key"])  # hash() takes long, each time
    assert isinstance(large, Opaque)


STRANGE = {
    "bytes of a number": b"cbuiltins\nbytes\nJ\xff\xff\xff\x7f\x85R.",  # would be 2 GiB of zeros
    "bytearray of a number": b"cbuiltins\nbytearray\nK\x05\x85R.",
    "bytes of two": b"cbuiltins\nbytes\nC\x01xC\x01x\x86R.",
    "encoded otherwise": b"c_codecs\nencode\nX\x01\x00\x00\x00xX\x03\x00\x00\x00hex\x86R.",
    "a list of a number": b"cbuiltins\nlist\nK\x05\x85R.",
    "a set of two": b"cbuiltins\nset\n]]\x86R.",
    "a dict of threes": b"cbuiltins\ndict\n]((K\x01K\x02K\x03te\x85R.",
    "a dict of numbers": b"cbuiltins\ndict\n]K\x01a\x85R.",
    "a complex of text": b"cbuiltins\ncomplex\nX\x01\x00\x00\x00xX\x01\x00\x00\x00x\x86R.",
}


@pytest.mark.parametrize("what", STRANGE)
def test_plain_data_made_from_strange_arguments_are_left_alone(what):
    assert isinstance(loads(STRANGE[what]), Opaque)


def test_a_line_without_an_end_is_not_read_to_the_end_of_the_file():
    file = io.BytesIO(b"c" + b"x" * (8 << 20))
    with pytest.raises(InitError, match="no newline found"):
        read_pickle(file)
    assert file.tell() < 2 << 20


def test_what_is_put_on_the_stack_can_be_dropped_again():
    assert loads(b"K\x01K\x020.") == 1
    assert loads(b"K\x01(0.") == 1  # a mark with nothing upon it
    assert loads(b"K\x01(K\x02K\x031.") == 1


def test_objects_of_protocol_1_bear_the_name_of_their_class():
    value = loads(pickle.dumps(argparse.Namespace(lr=1), 1))
    assert (value.name, value.state) == ("argparse.Namespace", {"lr": 1})


def test_more_parts_than_a_limit(monkeypatch):
    monkeypatch.setattr(machine, "_MOST_STEPS", 1000)
    with pytest.raises(InitError, match=r"^its pickle has more than 1000 parts$"):
        loads(b"\x8f" * 2000 + b".")
    # a list copied again and again
    copies = (
        b"](" + b"N" * 200 + b"e0h\x00cbuiltins\nlist\nq\x01" + b"0h\x01h\x00\x85R" * 100 + b"."
    )
    with pytest.raises(InitError, match="more than 1000 parts"):
        loads(copies.replace(b"](", b"]q\x00(", 1))
    binary = (
        b"c_codecs\nencode\nq\x00X\x40\x1f\x00\x00"
        + b"x" * 8000
        + b"X\x06\x00\x00\x00latin1\x86q\x01"
    )
    assert loads(binary + b"0h\x00h\x01R" * 3 + b".") == b"x" * 8000
    with pytest.raises(InitError, match="more than 1000 parts"):
        loads(binary + b"0h\x00h\x01R" * 10 + b".")
    monkeypatch.setattr(pickles, "MOST_BYTES", 100)
    with pytest.raises(InitError, match="is larger than 0 MiB"):
        loads(b"C\xff" + b"x" * 255 + b".")


def test_a_large_value_comes_in_pieces():
    data = os.urandom(5 << 20)
    assert loads(pickle.dumps(data)) == data


def test_several_pickles_in_one_file():
    file = io.BytesIO(
        b"".join(pickle.dumps(one, protocol) for protocol, one in enumerate("abcdef"))
    )
    assert [read_pickle(file) for _ in range(6)] == list("abcdef") and file.read() == b""


# --- zip archives -----------------------------------------------------------------------------


def test_archives_that_torch_does_not_write(monkeypatch):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", pickle.dumps(1) + bytes(1 << 20))
    refused = {
        file.getvalue(): "its records are compressed or encrypted, which torch.save never does",
        with_pickle(b"N.", byteorder=b"big"): "byte order 'big', but this one is little-endian",
        with_pickle(b"N.", byteorder=b"big" * 10): "its record byteorder has 30 bytes",
        with_pickle(
            b"N.", **{"constants.pkl": b""}
        ): "it is a TorchScript archive, a program; load",
        with_pickle(b"N.", code____torch__="x"): "TorchScript",
        with_pickle(b"N.").replace(b"data.pkl", b"date.pkl"): "did not write it: no data.pkl",
        with_pickle(b"N.", x__data__="", **{"b__data.pkl": b""}): "no data.pkl",
        b"PK\x03\x04" + bytes(50): "its zip directory is damaged: File is not a zip file",
    }
    for data, reason in refused.items():
        with pytest.raises(InitError, match=reason):
            read_torch(Bytes(data))
    assert read_torch(Bytes(with_pickle(b"N.", byteorder=b"little"))) is None
    monkeypatch.setattr("initium.checkpoint.formats.torch_file.MOST_BYTES", 10)
    with pytest.raises(InitError, match="its zip directory is larger than 0 MiB"):
        read_torch(Bytes(with_pickle(b"N.")))


def changed(data, signature, at, format, value, which=-1):
    """The archive with a field of a header (with this signature) set to another value."""
    places = [i for i in range(len(data)) if data.startswith(signature, i)]
    content = bytearray(data)
    struct.pack_into(format, content, places[which] + at, value)
    return bytes(content)


def test_headers_that_lie():
    pid = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ."
    data = with_pickle(pid, data__0=bytes(16))
    assert isinstance(read_torch(Bytes(data)), Storage)
    assert (
        read_torch(Bytes(with_pickle(pid.replace(b"\x03\0\0\0cpu", b"\x04\0\0\0meta")))).location
        == "meta"
    )
    huge = changed(data, b"PK\x01\x02", 20, "<I", 10 << 28)
    bad = [
        changed(huge, b"PK\x01\x02", 24, "<I", 10 << 28),  # 2.5 GiB are declared
        huge,
        changed(data, b"PK\x01\x02", 42, "<I", 1),  # where its header lies
        changed(data, b"PK\x01\x02", 42, "<I", len(data) - 4),
        changed(data, b"PK\x03\x04", 26, "<H", 60000),  # how long its name is
        changed(data, b"PK\x03\x04", 28, "<H", 120),  # how long its extra field is
        changed(data, b"PK\x01\x02", 10, "<H", 8),  # how it is compressed
        changed(data, b"PK\x01\x02", 8, "<H", 1),  # whether it is encrypted
        changed(data, b"PK\x03\x04", 0, "<H", 1),  # its signature
        data.replace(b"data/0", b"data/1"),
        data.replace(b"K\x04tQ", b"K\x05tQ"),
    ]
    for one in bad:
        with pytest.raises(InitError):
            read_torch(Bytes(one))


def test_two_records_of_one_name():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", b"N.")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("archive/data.pkl", b"K\x01.")
    with pytest.raises(InitError, match=r"^its zip directory has two records of the same name$"):
        read_torch(Bytes(file.getvalue()))


# --- the format before torch 1.6 --------------------------------------------------------------


def test_files_that_torch_save_did_not_write(tmp_path):
    tar = bytearray(600)
    tar[257:262] = b"ustar"
    refused = {
        pickle.dumps({"w": 1}): r"^torch.save did not write it: it is a bare pickle; save model",
        b"<!DOCTYPE html>": r"it is begins with|begins with b'<!DOCTYPE html>'",
        b"": "begins with b''",
        bytes(tar): r"^it is a tar archive; torch before 0\.4 saved those",
    }
    for data, reason in refused.items():
        with pytest.raises(InitError, match=reason):
            read_torch(Bytes(data))


def legacy(code=b"N.", keys=(), protocol=1001, system=None, rest=b""):
    system = {"little_endian": True} if system is None else system
    parts = [0x1950A86A20F9469CFC6C, protocol, system]
    return b"".join(pickle.dumps(part, 2) for part in parts) + code + pickle.dumps(keys, 2) + rest


def test_old_files_that_lie():
    pid = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x00kX\x03\x00\x00\x00cpuK\x04NtQ."
    good = dict(code=pid, keys=["k"], rest=struct.pack("<q", 4) + bytes(16))
    assert isinstance(read_torch(Bytes(legacy(**good))), Storage)
    assert read_torch(Bytes(legacy(**good) + b"more")).nbytes == 16
    module = b"(X\x06\x00\x00\x00modulecx\nNet\nX\x01\x00\x00\x00fX\x01\x00\x00\x00stQ)\x81."
    assert read_torch(Bytes(legacy(module, []))).name == "x.Net"
    bad = {
        "unknown protocol": dict(good, protocol=1000),
        "an unknown protocol": dict(good, system=3),
        "byte order 'big'": dict(good, system={"little_endian": False}),
        "its list of storages does not fit": dict(good, keys=["k", "k"]),
        "list of storages": dict(good, keys="k"),
        "list of storages does": dict(good, keys=["x"]),
        "the bytes of the storage 'k' are missing": dict(good, keys=[]),
        "should have 5 elements": dict(good, rest=struct.pack("<q", 5) + bytes(16)),
        "should have -1 elements": dict(good, rest=struct.pack("<q", -1) + bytes(16)),
        "has 12 bytes, but its description speaks of 16": dict(good, rest=struct.pack("<q", 3) + bytes(16)),
        "it ends after": dict(good, rest=b""),
        "unknown class 'os.FloatStorage'": dict(good, code=pid.replace(b"torch", b"os")),
    }  # fmt: skip
    for reason, parts in bad.items():
        with pytest.raises(InitError, match=reason):
            read_torch(Bytes(legacy(**parts)))
