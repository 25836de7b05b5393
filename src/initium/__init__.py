"""Initium says how a PyTorch model starts, does exactly that once, and shows what it did."""

from initium import init as init
from initium.apply import apply as apply
from initium.apply import initialize as initialize
from initium.building import build as build
from initium.building import materialize as materialize
from initium.building import recording as recording
from initium.errors import InitError as InitError
from initium.errors import InitWarning as InitWarning
from initium.functional import BaseInit as BaseInit
from initium.functional import Caffe2XavierInit as Caffe2XavierInit
from initium.functional import ConstantInit as ConstantInit
from initium.functional import KaimingInit as KaimingInit
from initium.functional import KeepInit as KeepInit
from initium.functional import NormalInit as NormalInit
from initium.functional import PretrainedInit as PretrainedInit
from initium.functional import TruncNormalInit as TruncNormalInit
from initium.functional import UniformInit as UniformInit
from initium.functional import XavierInit as XavierInit
from initium.functional import bias_init_with_prob as bias_init_with_prob
from initium.functional import c2_msra_fill as c2_msra_fill
from initium.functional import c2_xavier_fill as c2_xavier_fill
from initium.functional import caffe2_xavier_init as caffe2_xavier_init
from initium.functional import constant_init as constant_init
from initium.functional import kaiming_init as kaiming_init
from initium.functional import normal_init as normal_init
from initium.functional import trunc_normal_init as trunc_normal_init
from initium.functional import uniform_init as uniform_init
from initium.functional import update_init_info as update_init_info
from initium.functional import xavier_init as xavier_init
from initium.modules import BaseModule as BaseModule
from initium.modules import ModuleDict as ModuleDict
from initium.modules import ModuleList as ModuleList
from initium.modules import Sequential as Sequential
from initium.planning import Plan as Plan
from initium.planning import plan as plan
from initium.planning import plan_of as plan_of
from initium.protection import protect as protect
from initium.protection import unprotect as unprotect
from initium.registry import WEIGHT_INITIALIZERS as WEIGHT_INITIALIZERS
from initium.registry import Registry as Registry
from initium.registry import build_from_cfg as build_from_cfg
from initium.report import Report as Report
from initium.tree import is_model_wrapper as is_model_wrapper
from initium.verification import verify as verify

__version__ = "0.1.0"
