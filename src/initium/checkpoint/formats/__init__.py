"""Files of tensors: each is described by entries, and none of them is read."""

from initium.checkpoint.formats.dcp import read_dcp as read_dcp
from initium.checkpoint.formats.modules import state_dict_of as state_dict_of
from initium.checkpoint.formats.safetensors_file import read_safetensors as read_safetensors
from initium.checkpoint.formats.sharded import check_plain as check_plain
from initium.checkpoint.formats.sharded import folder_checkpoint as folder_checkpoint
from initium.checkpoint.formats.sharded import read_index as read_index
from initium.checkpoint.formats.sharded import sibling as sibling
from initium.checkpoint.formats.torch_file import read_torch as read_torch
from initium.checkpoint.formats.values import Global as Global
from initium.checkpoint.formats.values import Opaque as Opaque
