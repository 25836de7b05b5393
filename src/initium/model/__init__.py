"""What `mmengine.model` has for initialisation, under the same names.

A file that was written for MMEngine needs one word exchanged: `from initium.model import …`.
"""

from initium.model.base_module import BaseModule as BaseModule
from initium.model.base_module import ModuleDict as ModuleDict
from initium.model.base_module import ModuleList as ModuleList
from initium.model.base_module import Sequential as Sequential
from initium.model.weight_init import BaseInit as BaseInit
from initium.model.weight_init import Caffe2XavierInit as Caffe2XavierInit
from initium.model.weight_init import ConstantInit as ConstantInit
from initium.model.weight_init import KaimingInit as KaimingInit
from initium.model.weight_init import NormalInit as NormalInit
from initium.model.weight_init import PretrainedInit as PretrainedInit
from initium.model.weight_init import TruncNormalInit as TruncNormalInit
from initium.model.weight_init import UniformInit as UniformInit
from initium.model.weight_init import XavierInit as XavierInit
from initium.model.weight_init import bias_init_with_prob as bias_init_with_prob
from initium.model.weight_init import caffe2_xavier_init as caffe2_xavier_init
from initium.model.weight_init import constant_init as constant_init
from initium.model.weight_init import initialize as initialize
from initium.model.weight_init import kaiming_init as kaiming_init
from initium.model.weight_init import normal_init as normal_init
from initium.model.weight_init import trunc_normal_init as trunc_normal_init
from initium.model.weight_init import uniform_init as uniform_init
from initium.model.weight_init import update_init_info as update_init_info
from initium.model.weight_init import xavier_init as xavier_init
from initium.tree import is_model_wrapper as is_model_wrapper
