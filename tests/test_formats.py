"""Safetensors, sharded checkpoints and DCP folders: the values of the libraries, and no surprises."""

import io
import json
import math
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import warnings
from itertools import product
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dist_cp
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint import metadata as md
from torch.distributed.checkpoint.filesystem import _StorageInfo

from initium.checkpoint.blob import Blob, LocalFile
from initium.checkpoint.formats.dcp import Assembled, read_dcp
from initium.checkpoint.formats.safetensors_file import json_object, read_safetensors
from initium.checkpoint.formats.sharded import check_plain, folder_checkpoint, read_index, sibling
from initium.errors import InitError, InitFileNotFoundError

DTYPES = {
    **dict(F64=torch.float64, F32=torch.float32, F16=torch.float16, BF16=torch.bfloat16),
    **dict(I64=torch.int64, I32=torch.int32, I16=torch.int16, I8=torch.int8, BOOL=torch.bool),
    **dict(U64=torch.uint64, U32=torch.uint32, U16=torch.uint16, U8=torch.uint8),
    **dict(C64=torch.complex64, F8_E4M3=torch.float8_e4m3fn, F8_E5M2=torch.float8_e5m2),
    **dict(F8_E4M3FNUZ=torch.float8_e4m3fnuz, F8_E5M2FNUZ=torch.float8_e5m2fnuz),
    **dict(F8_E8M0=torch.float8_e8m0fnu),
}


class Memory(Blob):
    def __init__(self, raw, name="/somewhere/x.safetensors"):
        self.name, self.size, self._raw = name, len(raw), raw

    def read_into(self, offset, buffer):
        view = memoryview(buffer).cast("B")
        assert 0 <= offset <= offset + len(view) <= self.size
        view[:] = self._raw[offset : offset + len(view)]


def same(a, b):
    """Bit for bit, NaN included."""
    return (a.dtype, a.shape) == (b.dtype, b.shape) and torch.equal(
        a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8)
    )


def noise(shape, dtype):
    raw = torch.randint(0, 2 if dtype == torch.bool else 256, (math.prod(shape), dtype.itemsize))
    return raw.to(torch.uint8).view(-1).view(dtype).view(shape)


def tensors(shapes=((3, 5), (), (0, 3), (7,))):
    named = [*DTYPES.items(), ("C128", torch.complex128)]
    return {f"{n}.{list(s)}": noise(s, d) for n, d in named for s in shapes}


# ---- safetensors


def raw_file(header, data=b"", padding=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text + padding).to_bytes(8, "little") + text + padding + data


def one(dtype="F32", shape=(2,), offsets=(0, 8), **more):
    return {"w": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}}


def test_every_dtype_and_shape_is_read_as_by_the_library(tmp_path):
    path = tmp_path / "x.safetensors"
    state = {key: t for key, t in tensors().items() if not key.startswith("C128")}
    save_file(state, path, metadata={"format": "pt"})
    entries, theirs = read_safetensors(LocalFile(path)), load_file(path)
    assert entries.keys() == theirs.keys() == state.keys()
    for key, entry in entries.items():
        assert (entry.shape, entry.dtype) == (theirs[key].shape, theirs[key].dtype)
        assert entry.text == f"x.safetensors: {key}"
        assert same(entry.read(), theirs[key])


@pytest.mark.parametrize("padding", range(9))
def test_data_that_are_not_aligned(padding):
    values = noise((4,), torch.float64)
    data = values.view(torch.uint8).numpy().tobytes()
    raw = raw_file(one("F64", (4,), (0, 32)), data, b" " * padding)
    assert same(read_safetensors(Memory(raw))["w"].read(), values)


def test_an_empty_file_of_tensors_and_metadata():
    assert read_safetensors(Memory(raw_file({}))) == {}
    assert read_safetensors(Memory(raw_file({"__metadata__": {"a": "b"}}))) == {}


@pytest.mark.parametrize(
    ("dtype", "shape", "size"), [("F4", (3, 2), 3), ("F6_E2M3", (4,), 3), ("I3", (2,), 8)]
)
def test_what_torch_has_no_dtype_for_is_described_and_does_not_spoil_the_rest(dtype, shape, size):
    header = one(dtype, shape, (0, size)) | {"v": one("U8", (2,), (size, size + 2))["w"]}
    entries = read_safetensors(Memory(raw_file(header, b"\1" * (size + 2)), "/a/b\\x.safetensors"))
    assert entries["w"].shape == shape
    assert entries["w"].problem() == f"torch has no dtype for {dtype}"
    with pytest.raises(InitError, match=r"^x\.safetensors: w cannot be read: torch has no dtype"):
        entries["w"].read()
    assert entries["v"].read().tolist() == [1, 1]


NESTED = b'{"w":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
TWICE = b'{"w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'


def test_a_dtype_that_an_older_torch_does_not_have(monkeypatch):
    monkeypatch.delattr(torch, "float8_e8m0fnu")
    assert read_safetensors(Memory(raw_file(one("F8_E8M0", (1,), (0, 1)), b"1")))["w"].problem()
    with pytest.raises(InitError, match=r"\[2\] of F8_E8M0 takes 2 bytes, but data_offsets say 1"):
        read_safetensors(Memory(raw_file(one("F8_E8M0", (2,), (0, 1)), b"1")))


BAD = {
    "too short": (b"\0" * 7, "it has 7 bytes, too few for a safetensors file"),
    "a huge header": (
        (100_000_001).to_bytes(8, "little"),
        "its header would be 100000001 bytes long, more than the 100000000",
    ),
    "a header that is cut": (raw_file(one())[:20], "it ends after 20 bytes"),
    "no object": (raw_file(b"[]"), r"its header must start with '\{', but starts with b'\['"),
    "nothing": (raw_file(b""), r"its header must start with '\{', but starts with b''"),
    "a space": (raw_file(b" {}"), "its header must start with"),
    "not UTF-8": (raw_file(b'{"\xff":1}'), "its header: its JSON is damaged: 'utf-8' codec"),
    "half a character": (raw_file(b'{"\\ud800":1}'), "its header: its JSON is damaged: 'utf-8'"),
    "two objects": (raw_file(b"{}{}"), "its header: its JSON is damaged: Extra data"),
    "nested": (raw_file(NESTED), "its header: its JSON nests too deeply"),
    "twice": (raw_file(TWICE), "its header: the key 'w' is there twice"),
    "NaN": (raw_file(b'{"w":NaN}'), "its header: its JSON says NaN"),
    "many digits": (raw_file(b'{"w":' + b"1" * 5000 + b"}"), "its JSON is damaged: Exceeds"),
    "metadata": (raw_file({"__metadata__": {"a": 1}}), "__metadata__ must map str to str"),
    "no fields": (raw_file({"w": 3}), "w: a tensor has the fields dtype, shape, .* has: 3"),
    "a field too much": (raw_file(one(x=1)), "this one has: 'dtype', 'shape', 'data_offsets', 'x'"),
    "a dtype": (raw_file(one(4)), "w: dtype must be a str, but is 4"),
    "negative": (raw_file(one(shape=(-2,))), r"w: shape must be a list .* but is \[-2\]"),
    "minus zero": (raw_file(b'{"w":{"dtype":"U8","shape":[-0],"data_offsets":[0,0]}}'), "w: shape"),
    "a bool": (raw_file(one("U8", (True,), (0, 1)), b"1"), r"w: shape must .* but is \[True\]"),
    "backwards": (raw_file(one(offsets=(8, 0)), b"1" * 8), r"data_offsets must be \[begin, end\]"),
    "three": (raw_file(one(offsets=(0, 8, 8)), b"1" * 8), r"data_offsets must be \[begin, end\]"),
    "size": (raw_file(one(shape=(3,)), b"1" * 8), r"w: \[3\] of F32 takes 12 bytes, but .* say 8"),
    "half a byte": (raw_file(one("F4", (3,), (0, 1)), b"1"), "of F4 takes 1.5 bytes"),
    "overflow": (raw_file(one(shape=(0, 2**63), offsets=(0, 0))), "the shape .* is too large"),
    "dimensions": (raw_file(one(shape=[1] * 65, offsets=(0, 4)), b"1" * 4), "it has 65 dimensions"),
    "a hole": (raw_file(one(offsets=(4, 12)), b"1" * 12), "w must begin at byte 0 of the data"),
    "overlap": (
        raw_file(one() | {"v": one(offsets=(4, 12))["w"]}, b"1" * 12),
        "v must begin at byte 8 of the data, where the tensor before it ends, but begins at 4",
    ),
    "cut": (raw_file(one(), b"1" * 7), "w: x.safetensors: w: the file has"),
    "more": (raw_file(one(), b"1" * 9), "the tensors take 8 bytes, but 9 are there"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_breaks_the_format_is_refused_with_the_reason(case):
    raw, message = BAD[case]
    with pytest.raises(InitError, match=message) as caught:
        read_safetensors(Memory(raw))
    assert len(str(caught.value)) < 300


@pytest.fixture(scope="module")
def scratch():
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "fuzz.safetensors"


STRICTER = ("twice", "a tensor has the fields", "dimensions", "is too large", "nests too deeply")


def outcome(raw):
    try:
        return read_safetensors(Memory(raw)), ""
    except InitError as error:
        return None, str(error)


def agree(raw, path):
    """What the library refuses is refused with an InitError; what is accepted reads as there."""
    path.write_bytes(raw)
    try:
        with safe_open(path, "pt") as file:
            theirs = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
            theirs = {key: slice_.get_shape() for key, slice_ in theirs.items()}
    except Exception:
        theirs = None
    ours, refusal = outcome(raw)
    if ours is None:
        assert theirs is None or any(word in refusal for word in STRICTER), refusal
        return "refused"
    if theirs is None:  # but for a dtype that it does not know
        assert any(entry.problem() for entry in ours.values())
        return "unknown dtype"
    assert theirs.keys() == ours.keys()
    with safe_open(path, "pt") as file:
        for key, entry in ours.items():
            if entry.problem() is None:
                assert same(entry.read(), file.get_tensor(key))
    return "read"


@st.composite
def files(draw):
    """A valid file: its header, as an object, and its data."""
    header, at = {}, 0
    names = draw(st.lists(st.text(max_size=3), max_size=4, unique=True))
    for name in names:
        dtype = draw(st.sampled_from([*DTYPES, "F4"]))
        shape = draw(st.lists(st.integers(0, 4), max_size=3))
        shape += [2] if dtype == "F4" else []
        size = math.prod(shape) * (DTYPES[dtype].itemsize if dtype != "F4" else 1)
        size //= 2 if dtype == "F4" else 1
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    if draw(st.booleans()):
        header["__metadata__"] = draw(st.dictionaries(st.text(max_size=2), st.text(max_size=2)))
    return dict(draw(st.permutations(list(header.items())))), draw(
        st.binary(min_size=at, max_size=at)
    )


VALUES = st.one_of(
    st.sampled_from([*DTYPES, "F4", "F6_E2M3", "F32 ", "f32", "", "C128"]),
    st.integers(-2, 70),
    st.sampled_from([2**31, 2**32, 2**61, 2**62, 2**63 - 1, 2**63, 2**64, 2**64 + 1, 10**400]),
    st.sampled_from([None, True, False, 0.0, 1.0, -0.0, 1e30, "\ud800", {}, []]),
    st.lists(st.one_of(st.integers(0, 9), st.sampled_from([2**32, 2**63])), max_size=4),
)


def change_header(data, header):
    key = data.draw(st.sampled_from([*header, "new"]))
    fields = header.setdefault(key, {})
    field = data.draw(st.sampled_from([*fields, "dtype", "shape", "data_offsets"]))
    match data.draw(st.sampled_from(["set", "within", "within", "drop", "whole", "add"])):
        case "set":
            fields[field] = data.draw(VALUES)
        case "within" if isinstance(fields.get(field), list) and fields[field]:
            place = data.draw(st.integers(0, len(fields[field]) - 1))
            fields[field][place] = data.draw(VALUES)
        case "drop":
            fields.pop(field, None)
        case "whole":
            header[key] = data.draw(VALUES)
        case _:
            fields[data.draw(st.text(max_size=2))] = data.draw(VALUES)


def change_bytes(data, raw):
    raw = bytearray(raw)
    for _ in range(data.draw(st.integers(0, 2))):
        # mostly within the header
        place = data.draw(st.integers(0, max(0, min(len(raw) - 1, 150))))
        piece = data.draw(
            st.sampled_from([b"", b"0", b"1", b"-", b'"', b"{", b"\xff", b"\0", b"e9"])
        )
        raw[place : place + data.draw(st.integers(0, 2))] = piece
    return bytes(raw[: data.draw(st.sampled_from([len(raw)] * 5 + [len(raw) - 1, 9]))])


@settings(deadline=None, max_examples=300)
@given(data=st.data(), file=files())
def test_headers_are_taken_as_by_the_library(data, file, scratch):
    header, content = file
    if data.draw(st.booleans()):
        change_header(data, header)
    text = json.dumps(header, ensure_ascii=data.draw(st.booleans())).encode(
        "utf-8", "surrogatepass"
    )
    raw = raw_file(text, content, b" " * data.draw(st.integers(0, 3)))
    agree(raw if data.draw(st.booleans()) else change_bytes(data, raw), scratch)


@settings(deadline=None, max_examples=100)
@given(file=files())
def test_valid_files_are_never_refused(file, scratch):
    assert agree(raw_file(file[0], file[1]), scratch) == "read"


def test_a_file_cut_anywhere_is_refused(scratch):
    raw = raw_file(one() | {"v": one("U8", (3,), (8, 11))["w"]}, b"x" * 11)
    assert agree(raw, scratch) == "read"
    assert {agree(raw[:end], scratch) for end in range(len(raw))} == {"refused"}
    assert agree(raw + b"\0", scratch) == "refused"


def test_json_that_only_looks_like_half_a_character():
    assert json_object(b'{"\\\\ud800": "\\ud83d\\ude00"}') == {"\\ud800": "\U0001f600"}


# ---- sharded


@pytest.fixture
def shards(tmp_path):
    """Three shards of two tensors, and their index."""
    files = {f"model-{n}-of-3.safetensors": n for n in (1, 2, 3)}
    for file, n in files.items():
        save_file({f"{n}.a": torch.full((n,), n), f"{n}.b": torch.tensor(n)}, tmp_path / file)
    weight_map = {f"{n}.{part}": file for part in "ba" for file, n in files.items()}
    return write_index(tmp_path, weight_map)


def write_index(folder, weight_map):
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return index


def opener(index):
    opened = []

    def open_shard(name):
        opened.append(name)
        return read_safetensors(LocalFile(sibling(index, name)))

    return opened, open_shard


def test_all_shards_are_opened_once_and_the_order_is_that_of_the_index(shards):
    opened, open_shard = opener(shards)
    entries = read_index(shards, open_shard)
    assert list(entries) == ["1.b", "2.b", "3.b", "1.a", "2.a", "3.a"]
    assert opened == [f"model-{n}-of-3.safetensors" for n in (1, 2, 3)]
    assert entries["3.a"].read().tolist() == [3, 3, 3]
    assert entries["3.a"].text == "model-3-of-3.safetensors: 3.a"


def test_only_shards_with_a_wanted_key_are_opened_or_need_to_be_there(shards):
    (shards.parent / "model-3-of-3.safetensors").unlink()
    opened, open_shard = opener(shards)
    assert list(read_index(shards, open_shard, lambda key: key == "2.a")) == ["2.a"]
    assert opened == ["model-2-of-3.safetensors"]
    assert read_index(shards, open_shard, lambda key: False) == {}
    with pytest.raises(FileNotFoundError, match="2 of its 3 files are there") as caught:
        read_index(shards, open_shard)
    assert f"there is no file {shards.parent / 'model-3-of-3.safetensors'}" in str(caught.value)


def test_what_transformers_and_the_hub_write(tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    state = {f"layer.{n}.weight": torch.randn(40, 10) for n in range(7)}
    hub.save_torch_state_dict(state, tmp_path, max_shard_size="4KB")
    index = folder_checkpoint(tmp_path)
    assert index.name == "model.safetensors.index.json"
    opened, open_shard = opener(index)
    entries = read_index(index, open_shard)
    assert len(opened) > 2
    assert entries.keys() == state.keys()
    assert all(same(entries[key].read(), state[key]) for key in state)


def test_an_index_that_promises_what_the_shard_lacks(shards):
    _, open_shard = opener(shards)
    write_index(shards.parent, {"1.a": "model-1-of-3.safetensors"})
    assert list(read_index(shards, open_shard)) == ["1.a"]  # 1.b is not named, and left out
    write_index(shards.parent, {"2.a": "model-1-of-3.safetensors"})
    message = r"says that 2\.a is in model-1-of-3\.safetensors, .* it has: 1\.a, 1\.b"
    with pytest.raises(InitError, match=message):
        read_index(shards, open_shard)


def test_an_error_in_a_shard_names_the_shard(shards):
    (shards.parent / "model-2-of-3.safetensors").write_bytes(b"\0" * 7)
    with pytest.raises(InitError, match=r"^model-2-of-3\.safetensors: it has 7 bytes"):
        read_index(shards, opener(shards)[1])


TRICKS = ["../../etc/passwd", "/etc/passwd", "..", ".", "", "a/../b", "./a", "a//b", "a/", "C:a"]
TRICKS += ["c:/a", "a\\b", "\\\\host\\a", "..\\a", "a\0b", "//host/share/a"]


@pytest.mark.parametrize("name", [*TRICKS, 3, None, ["a"]])
def test_file_names_that_may_lead_out_of_the_folder(name, tmp_path):
    index = write_index(tmp_path, {"fine": "a.safetensors", "w": name})
    with pytest.raises(
        InitError, match=r"^model\.safetensors\.index\.json: weight_map\['w'\]"
    ) as e:
        read_index(index, lambda name: pytest.fail("opened"), lambda key: key == "fine")
    assert repr(name) in str(e.value)
    for look in (check_plain, lambda name: sibling(index, name)):
        with pytest.raises(InitError, match=r"^(the|a) file name"):
            look(name)


@pytest.mark.parametrize("name", ["a", "sub/a", "..a", "a..b", "a b", "ä:1", ".hidden", "a" * 300])
def test_file_names_that_are_fine(name, tmp_path):
    check_plain(name)
    with pytest.raises(FileNotFoundError, match=r"there is no file .* 0 of its 1 files are there"):
        sibling(write_index(tmp_path, {"w": name}), name)


def test_a_link_out_of_the_folder_is_refused_and_one_within_it_followed(tmp_path):
    folder, outside = tmp_path / "folder", tmp_path / "outside.safetensors"
    folder.mkdir()
    outside.write_bytes(b"x")
    (folder / "inside.safetensors").write_bytes(b"x")
    (folder / "good.safetensors").symlink_to("inside.safetensors")
    (folder / "bad.safetensors").symlink_to("../outside.safetensors")
    (folder / "circle.safetensors").symlink_to("circle.safetensors")
    (folder / "sub").symlink_to(tmp_path)
    index = write_index(folder, {"w": "bad.safetensors"})
    assert sibling(index, "good.safetensors") == folder / "good.safetensors"
    for name in ("bad.safetensors", "sub/outside.safetensors"):
        with pytest.raises(InitError, match=f"is a symbolic link to {outside}, out of its folder"):
            sibling(index, name)
    with pytest.raises(InitError, match=r"circle\.safetensors"):
        sibling(index, "circle.safetensors")
    # a folder that is a link itself is no trick
    (tmp_path / "link").symlink_to("folder")
    assert sibling(tmp_path / "link" / index.name, "good.safetensors").read_bytes() == b"x"


@pytest.mark.parametrize("below", ["", "unet"])
def test_the_cache_of_the_hub(below, tmp_path):
    repo = tmp_path / "models--x"
    blobs, snapshot = repo / "blobs", repo / "snapshots" / "abc" / below
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    up = "../../../" if below else "../../"
    save_file({"w": torch.ones(2)}, blobs / "123")
    write_index(blobs, {"w": "a.safetensors"}).rename(blobs / "456")
    (snapshot / "model.safetensors.index.json").symlink_to(f"{up}blobs/456")
    (snapshot / "a.safetensors").symlink_to(f"{up}blobs/123")
    index = folder_checkpoint(snapshot)
    assert read_index(index, opener(index)[1])["w"].read().tolist() == [1, 1]
    # elsewhere in the cache, and out of it by way of `blobs`
    (tmp_path / "secret").write_bytes(b"x")
    for target in (f"{up}../secret", f"{up}secret", f"{up}blobs/out"):
        (snapshot / "a.safetensors").unlink()
        (snapshot / "a.safetensors").symlink_to(target)
        (repo / "secret").write_bytes(b"x")
        (blobs / "out").unlink(missing_ok=True)
        (blobs / "out").symlink_to("../../secret")
        with pytest.raises(InitError, match="out of its folder"):
            sibling(index, "a.safetensors")


DAMAGED = {
    b"": "its JSON is damaged",
    b"[]": "its JSON must be an object, but is a list",
    b"{}": "it has no weight_map",
    b'{"weight_map": []}': "it has no weight_map",
    b'{"weight_map": {"a": "x", "a": "y"}}': "the key 'a' is there twice",
    b'{"weight_map": {}, "weight_map": {}}': "the key 'weight_map' is there twice",
    b'{"weight_map": {"a": "\xff"}}': "its JSON is damaged",
    NESTED: "its JSON nests too deeply",
}


@pytest.mark.parametrize("raw", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_index(raw, tmp_path):
    index = tmp_path / "x.index.json"
    index.write_bytes(raw)
    with pytest.raises(InitError, match=rf"^x\.index\.json: {DAMAGED[raw]}"):
        read_index(index, lambda name: pytest.fail("opened"))


def test_an_index_that_is_not_there_or_a_folder(tmp_path):
    with pytest.raises(InitFileNotFoundError, match="there is no file"):
        read_index(tmp_path / "x.index.json", lambda name: {})
    with pytest.raises(InitError, match=r"it cannot be read: .*directory"):
        read_index(tmp_path, lambda name: {})


FOLDERS = [
    (["config.json", ".metadata", "model.safetensors"], ""),
    (["model.safetensors", "model.safetensors.index.json"], "model.safetensors.index.json"),
    (["pytorch_model.bin.index.json", "model.safetensors"], "model.safetensors"),
    (["pytorch_model.bin", "pytorch_model.bin.index.json"], "pytorch_model.bin.index.json"),
    (["pytorch_model.bin", "optimizer.pt"], "pytorch_model.bin"),
    (["last.ckpt", "config.json", "deep.ckpt/x"], "last.ckpt"),
    (["best.pth", "training_args.bin"], "best.pth"),
    (["model-00001-of-00001.safetensors"], "model-00001-of-00001.safetensors"),
]


@pytest.mark.parametrize(("names", "expected"), FOLDERS)
def test_which_file_of_a_folder_is_the_checkpoint(names, expected, tmp_path):
    put(tmp_path, names)
    assert folder_checkpoint(tmp_path) == tmp_path / expected


def put(folder, names):
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"")


def test_a_folder_with_none_or_several(tmp_path):
    with pytest.raises(InitFileNotFoundError, match="there is no folder"):
        folder_checkpoint(tmp_path / "x")
    with pytest.raises(
        InitError, match=r"holds no checkpoint. There is: nothing. Looked for: .meta"
    ):
        folder_checkpoint(tmp_path)
    put(tmp_path, ["config.json", "x.bin"])
    with pytest.raises(InitError) as caught:
        folder_checkpoint(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} holds no checkpoint. There is: config.json, x.bin. Looked for: .metadata (DCP),"
        " model.safetensors.index.json, model.safetensors, pytorch_model.bin.index.json, "
        "pytorch_model.bin, or one file *.safetensors, *.pth, *.pt, *.ckpt"
    )
    put(tmp_path, ["model-00001-of-00010.safetensors"])
    with pytest.raises(InitError, match="is one shard of several, and the index is not there"):
        folder_checkpoint(tmp_path)
    put(tmp_path, ["b.pth"])
    with pytest.raises(InitError, match=r"several checkpoints.*: b\.pth, model-00001"):
        folder_checkpoint(tmp_path)


# ---- DCP


def save_dcp(state, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dist_cp.save(state, checkpoint_id=folder)


def load_dcp(state, folder):
    """What torch loads into tensors like these."""
    into = {key: torch.zeros_like(t) for key, t in state.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dist_cp.load(into, checkpoint_id=folder)
    return into


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    state = tensors()
    state["transposed"] = noise((3, 4), torch.float32).t()
    state["part"] = noise((6, 4), torch.float32)[1:5, ::2]
    state["channels_last"] = noise((2, 3, 4, 5), torch.float32).to(
        memory_format=torch.channels_last
    )
    state["expanded"] = torch.ones(1).expand(5)
    state["parameter"] = torch.nn.Parameter(torch.randn(3))
    folder = tmp_path_factory.mktemp("dcp") / "step-3"
    save_dcp({"app": {"model": state, "epoch": 3, "lr": [0.1]}}, folder)
    return {f"app.model.{key}": t.detach() for key, t in state.items()}, folder


@pytest.fixture
def copied(single, tmp_path):
    return single[0], shutil.copytree(single[1], tmp_path / "copy")


def test_a_folder_of_one_process_is_read_as_by_torch(single):
    state, folder = single
    entries, theirs = read_dcp(folder), load_dcp(*single)
    assert entries.keys() == state.keys()  # the epoch is no tensor
    for key, entry in entries.items():
        assert (entry.shape, entry.dtype, entry.problem()) == (
            state[key].shape,
            state[key].dtype,
            None,
        )
        assert entry.text == f"step-3: {key}"
        assert same(entry.read(), theirs[key])
        assert same(entry.read(), state[key].contiguous())


TWO_RANKS = """
import os, sys, torch, torch.distributed as dist, torch.distributed.checkpoint as dist_cp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
folder, other = sys.argv[1], os.fork()  # after the imports, which take longest
rank = 1 if other else 0
dist.init_process_group("gloo", init_method=f"file://{folder}.meet", rank=rank, world_size=2)
mesh, full = init_device_mesh("cpu", (2,)), torch.load(f"{folder}.pt")
places = {"r": Shard(0), "c": Shard(1), "s": Replicate()}
state = {key: distribute_tensor(t, mesh, [places[key[0]]]) for key, t in full.items()}
dist_cp.save({"model": state, "epoch": 3}, checkpoint_id=folder)
dist.destroy_process_group()
sys.exit(other and os.waitpid(other, 0)[1])
"""


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dcp") / "two"
    state = {"rows": torch.randn(5, 3), "columns": torch.randn(3, 5).bfloat16()}
    state |= {"r1": torch.randn(1, 4), "c0": torch.zeros(3, 0), "same": torch.arange(6.0)}
    state |= {"scalar": torch.tensor(3.5), "r3": torch.randn(5, 2, 2)}
    torch.save(state, f"{folder}.pt")
    command = [sys.executable, "-W", "ignore", "-c", TWO_RANKS, str(folder)]
    subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, timeout=120)
    return {f"model.{key}": t for key, t in state.items()}, folder


def test_a_folder_of_two_ranks_is_put_together(two_ranks):
    state, folder = two_ranks
    entries, theirs = read_dcp(folder), load_dcp(*two_ranks)
    assert entries.keys() == state.keys()
    assert {path.name for path in folder.iterdir()} == {".metadata", "__0_0.distcp", "__1_0.distcp"}
    for key, entry in entries.items():
        assert same(entry.read(), state[key])
        assert same(theirs[key], state[key])
    parts = [chunk.sizes for chunk in entries["model.columns"].chunks]
    assert parts == [(3, 3), (3, 2)]


def test_pieces_write_each_chunk_into_its_place(two_ranks):
    state, folder = two_ranks
    for key, entry in read_dcp(folder).items():
        into, found = torch.zeros(entry.shape, dtype=torch.float64), []
        work = list(entry.pieces(into, found=lambda found=found: found.append(1)))
        assert not into.any()
        assert sum(step() for step in reversed(work)) == into.numel()
        assert bool(found) is not bool(torch.isfinite(into).all())
        assert torch.equal(into, state[key].double())
        assert len(work) == (2 if key in ("model.rows", "model.columns", "model.r3") else
                             min(1, into.numel()))  # fmt: skip


def write_dcp(folder, tensor, boxes, dtype=None, size=None, **lies):
    """A folder with one tensor, `w`, cut into boxes (offsets, sizes); all of it may be a lie."""
    folder.mkdir(exist_ok=True)
    content, stored = io.BytesIO(), {}
    for at, sizes in boxes:
        place = dict(relative_path="__0_0.distcp", offset=content.tell())
        torch.save(box_of(tensor, at, sizes), content)
        place["length"] = content.tell() - place["offset"]
        if 0 not in sizes:  # where an empty one lies is of no interest
            index = md.MetadataIndex("w", torch.Size(at))
            stored[index] = _StorageInfo(**{**place, **lies})
    (folder / "__0_0.distcp").write_bytes(content.getvalue())
    chunks = [md.ChunkStorageMetadata(torch.Size(at), torch.Size(n)) for at, n in boxes]
    properties = md.TensorProperties(dtype=dtype or tensor.dtype)
    described = md.TensorStorageMetadata(properties, torch.Size(size or tensor.shape), chunks)
    write_metadata(folder, md.Metadata({"w": described}, None, stored))


def box_of(tensor, at, sizes):
    """What of the box lies within the tensor."""
    return tensor[tuple(slice(a, a + n) for a, n in zip(at, sizes, strict=True))].clone()


def write_metadata(folder, metadata, protocol=4):
    (folder / ".metadata").write_bytes(pickle.dumps(metadata, protocol))


@st.composite
def boxes(draw):
    """A shape, and boxes in it that often fill it, and often do not quite."""
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=3)))
    found = draw(cut((tuple(0 for _ in shape), shape), 3))
    found = [*draw(st.permutations(found))]
    match draw(st.sampled_from(["leave", "leave", "drop", "repeat", "move"])):
        case "drop":
            found.pop()
        case "repeat":
            found[-1] = found[0]
        case "move" if shape:
            at, sizes = found.pop()
            dim = draw(st.integers(0, len(shape) - 1))
            there = max(0, at[dim] + draw(st.sampled_from([-1, 1])))
            found.append((put_in(at, dim, there), sizes))
    return shape, found


@st.composite
def cut(draw, box, depth):
    at, sizes = box
    if not sizes or not depth or draw(st.integers(0, 3)) == 0:
        return [box]
    dim = draw(st.integers(0, len(sizes) - 1))
    where = draw(st.integers(0, sizes[dim]))
    first = at, put_in(sizes, dim, where)
    second = put_in(at, dim, at[dim] + where), put_in(sizes, dim, sizes[dim] - where)
    return [*draw(cut(first, depth - 1)), *draw(cut(second, depth - 1))]


def put_in(numbers, place, number):
    return (*numbers[:place], number, *numbers[place + 1 :])


def cells(at, sizes):
    return list(product(*(range(a, a + n) for a, n in zip(at, sizes, strict=True))))


@settings(deadline=None, max_examples=100)
@given(case=boxes())
@example(case=((4,), [((0,), (2,)), ((3,), (2,))]))  # a hole, and one too far
@example(case=((2, 2), [((0, 0), (1, 2)), ((0, 0), (2, 1))]))
def test_chunks_are_taken_when_each_element_is_in_exactly_one(case, scratch):
    shape, found = case
    tensor = torch.arange(math.prod(shape), dtype=torch.int16).view(shape)
    folder = scratch.parent / "boxes"
    write_dcp(folder, tensor, found)
    covered = sorted(cell for box in found for cell in cells(*box))
    if covered == sorted(cells([0] * len(shape), shape)):
        assert same(read_dcp(folder)["w"].read(), tensor)
    else:
        with pytest.raises(InitError, match=r"^w: (its \d chunks do not fill|a chunk of)"):
            read_dcp(folder)


WHOLE, VALUE = [((0, 0), (2, 3))], torch.arange(6.0).view(2, 3)
LIES = {
    "dtype": (dict(dtype=torch.int32), r"\[2, 3\] of torch.float32, but .metadata says .*int32"),
    "size": (dict(size=(2, 4)), r"its 1 chunks do not fill \[2, 4\] exactly once"),
    "dims": (dict(size=(6,)), r"a chunk of \[2, 3\] at \[0, 0\] is not within \[6\]"),
    "path": (
        dict(relative_path="../x/__0_0.distcp"),
        "the file name '../x/__0_0.distcp' may lead out",
    ),
    "absolute": (dict(relative_path="/etc/passwd"), "the file name '/etc/passwd' may lead out"),
    "long": (dict(relative_path="a" * 300), "there is no file"),
    "half": (dict(relative_path="\ud800"), "cannot be followed"),
    "list": (dict(relative_path=["a"]), "a file name must be a str"),
    "missing": (
        dict(relative_path="__1_0.distcp"),
        "there is no file .*__1_0.distcp, which holds a part",
    ),
    "offset": (dict(offset=1000), r"its chunk of 24 bytes cannot lie at 1000 to .* cut short or"),
    "far": (dict(offset=2**70), "cannot lie at 1180591620717411303424 to"),
    "negative": (dict(offset=-1), ".metadata says -1 where a size must be"),
    "bool": (dict(offset=False), ".metadata says False where a size must be"),
    "short": (dict(length=23), "its chunk of 24 bytes cannot lie at 0 to 23"),
    "cut": (dict(length=1000), "zip"),
    "begins late": (dict(offset=100, length=1000), "torch.save did not write it"),
    "transforms": (dict(transform_descriptors=["zstd"]), r"its chunks are transformed: \['zstd'\]"),
}


@pytest.mark.parametrize("case", LIES)
def test_metadata_that_lie(case, tmp_path):
    lie, message = LIES[case]
    write_dcp(tmp_path / "x", VALUE, WHOLE, **lie)
    with pytest.raises(InitError, match=rf"^(x: )?w: .*{message}"):
        read_dcp(tmp_path / "x")["w"].read()


def test_sizes_that_cannot_be(tmp_path):
    write_dcp(tmp_path, VALUE, [((0, 0), (2**40, 2**40))], size=(2**40, 2**40))
    with pytest.raises(InitError, match=r"w: the shape .* is too large"):
        read_dcp(tmp_path)
    write_dcp(tmp_path, VALUE, [((0, 0), (2**20, 2**20))], size=(2**20, 2**20))
    with pytest.raises(InitError, match=r"w: .* its chunk of 4398046511104 bytes cannot lie at"):
        read_dcp(tmp_path)


def test_a_chunk_that_is_something_else(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch is to give quantised tensors up
        quantised = torch.quantize_per_tensor(VALUE, 1.0, 0, torch.qint8)
    others = {
        "holds a list where a tensor must": [VALUE],
        "quantised": quantised,
        r"holds \[3, 2\] of torch.float32, but .metadata says \[2, 3\]": VALUE.view(3, 2),
        r"holds \[1, 3\] of torch.float32, but": VALUE[:1].clone(),  # copy_ would repeat it
    }
    for message, value in others.items():
        file = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.save(value, file)
        write_dcp(tmp_path, VALUE, WHOLE, length=len(file.getvalue()), offset=0)
        (tmp_path / "__0_0.distcp").write_bytes(file.getvalue())
        with pytest.raises(InitError, match=rf"^{tmp_path.name}: w: .*{message}"):
            read_dcp(tmp_path)["w"].read()


def test_a_dtype_that_torch_does_not_have(tmp_path, monkeypatch):
    # which imports parts of torch on demand: what the file names must not
    monkeypatch.setattr(torch, "__getattr__", lambda name: pytest.fail(f"{name} was looked up"))
    write_dcp(tmp_path, VALUE, WHOLE)
    raw = (tmp_path / ".metadata").read_bytes()
    (tmp_path / ".metadata").write_bytes(raw.replace(b"float32", b"float33"))
    entry = read_dcp(tmp_path)["w"]
    assert (entry.shape, entry.problem()) == ((2, 3), "torch has no dtype torch.float33")
    write_dcp(tmp_path, VALUE, WHOLE, dtype=torch.qint8)
    assert read_dcp(tmp_path)["w"].problem() == "it is quantised (torch.qint8)"


def test_files_that_are_missing_cut_or_linked_elsewhere(copied):
    _, folder = copied
    file = folder / "__0_0.distcp"
    size = file.stat().st_size
    entry = list(read_dcp(folder).values())[-1]
    os.truncate(file, size - 100)
    with pytest.raises(InitError, match=rf"^app\.model\..*{file} has {size - 100} bytes"):
        read_dcp(folder)
    with pytest.raises(InitError, match=r"^copy: app\.model"):
        entry.read()
    file.rename(folder.parent / "elsewhere")
    with pytest.raises(InitError, match=rf"^copy: app\.model.*{file} cannot be opened"):
        entry.read()
    with pytest.raises(FileNotFoundError, match=rf"there is no file {file}, which holds a part"):
        read_dcp(folder)
    file.symlink_to("../elsewhere")
    with pytest.raises(InitError, match=r"is a symbolic link to .*/elsewhere, out of its folder"):
        read_dcp(folder)


def test_a_folder_without_metadata(tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"^\.metadata: there is none in {tmp_path}"):
        read_dcp(tmp_path)
    (tmp_path / ".metadata").mkdir()
    with pytest.raises(InitError, match=r"^\.metadata: it cannot be read: .*directory"):
        read_dcp(tmp_path)


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (self.path,))


def test_code_in_the_metadata_does_not_run(copied, tmp_path):
    state, folder = copied
    with (folder / ".metadata").open("rb") as file:
        metadata = pickle.load(file)
    ran = tmp_path / "ran"
    for protocol in range(2, 6):
        metadata.planner_data = Evil(str(ran))
        write_metadata(folder, metadata, protocol)
        assert read_dcp(folder).keys() == state.keys()
        write_metadata(folder, Evil(str(ran)), protocol)
        with pytest.raises(InitError, match=r"it holds a mkdir where a Metadata must be"):
            read_dcp(folder)
        assert not ran.exists()
    pickle.loads((folder / ".metadata").read_bytes())
    assert ran.exists()  # it does run where pickles are obeyed


ODD = [None, 3, "x", [], (), {}, {"w": 3}, {3: 4}, {"w": md.BytesStorageMetadata()}, [1], ((1,),)]
ODD += [VALUE.shape, md.ChunkStorageMetadata(3, 4), md.TensorStorageMetadata(3, 4, 5), Evil("x")]


PLACES = [
    "",
    "state_dict_metadata",
    "storage_data",
    "w",
    "w.properties",
    "w.size",
    "w.chunks",
    "at",
]
PLACES += [
    "w.chunks.0",
    "chunk.offsets",
    "chunk.sizes",
    "info",
    "info.relative_path",
    "info.length",
]


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
@pytest.mark.parametrize("place", PLACES)
def test_metadata_of_another_form_are_refused(place, odd, tmp_path):
    write_dcp(tmp_path, VALUE, WHOLE)
    metadata = pickle.loads((tmp_path / ".metadata").read_bytes())
    w, ((index, info),) = metadata.state_dict_metadata["w"], metadata.storage_data.items()
    owner, _, name = place.rpartition(".")
    match place:
        case "":
            metadata = odd
        case "w":
            metadata.state_dict_metadata["w"] = odd
        case "at":
            object.__setattr__(index, "offset", odd)
        case "info":
            metadata.storage_data[index] = odd
        case "w.chunks.0":
            w.chunks[0] = odd
        case _:
            setattr({"w": w, "chunk": w.chunks[0], "info": info, "": metadata}[owner], name, odd)
    write_metadata(tmp_path, metadata)
    try:
        entries = read_dcp(tmp_path)
    except InitError:
        return
    if "w" in entries:
        assert same(entries["w"].read(), VALUE)
    else:  # nothing is said to be there
        assert (place, odd) in [("state_dict_metadata", {})] or isinstance(
            metadata.state_dict_metadata["w"], md.BytesStorageMetadata
        )


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_damaged_metadata_raise_nothing_but_init_errors(data, two_ranks, scratch):
    folder = scratch.parent / "damaged"
    if not folder.exists():
        shutil.copytree(two_ranks[1], folder)
    raw = bytearray((two_ranks[1] / ".metadata").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.sampled_from([len(raw)] * 4 + [data.draw(st.integers(0, len(raw)))]))
    (folder / ".metadata").write_bytes(raw[:end])
    try:
        for entry in read_dcp(folder).values():
            assert entry.problem() or isinstance(entry, Assembled)
            if entry.problem() is None:
                entry.read()
    except InitError:
        pass
