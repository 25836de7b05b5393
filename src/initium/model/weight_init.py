"""`mmengine.model.weight_init`: initializers as classes, as functions on a module, and on a tensor."""

from __future__ import annotations

from typing import Any

from torch import nn

from initium.apply import initialize as _initialize
from initium.config import InitCfg
from initium.functional import BaseInit as BaseInit
from initium.functional import Caffe2XavierInit as Caffe2XavierInit
from initium.functional import ConstantInit as ConstantInit
from initium.functional import KaimingInit as KaimingInit
from initium.functional import NormalInit as NormalInit
from initium.functional import PretrainedInit as PretrainedInit
from initium.functional import TruncNormalInit as TruncNormalInit
from initium.functional import UniformInit as UniformInit
from initium.functional import XavierInit as XavierInit
from initium.functional import bias_init_with_prob as bias_init_with_prob
from initium.functional import caffe2_xavier_init as caffe2_xavier_init
from initium.functional import constant_init as constant_init
from initium.functional import kaiming_init as kaiming_init
from initium.functional import normal_init as normal_init
from initium.functional import trunc_normal_init as trunc_normal_init
from initium.functional import uniform_init as uniform_init
from initium.functional import update_init_info as update_init_info
from initium.functional import xavier_init as xavier_init
from initium.init import trunc_normal_ as trunc_normal_
from initium.report import Report


def initialize(module: nn.Module, init_cfg: InitCfg, **options: Any) -> Report:
    """`initium.initialize`, whose first argument has MMEngine's name here.

    >>> linear = nn.Linear(1, 1)
    >>> initialize(module=linear, init_cfg=dict(type="Constant", layer="Linear", val=3)).counts
    {'filled': 2}
    """
    return _initialize(module, init_cfg, **options)
