"""The initializers as classes and as functions on a module."""

from initium.functional.base import BaseInit as BaseInit
from initium.functional.classes import ConstantInit as ConstantInit
from initium.functional.classes import KeepInit as KeepInit
from initium.functional.classes import NormalInit as NormalInit
from initium.functional.classes import TruncNormalInit as TruncNormalInit
from initium.functional.classes import UniformInit as UniformInit
from initium.functional.functions import bias_init_with_prob as bias_init_with_prob
from initium.functional.functions import c2_msra_fill as c2_msra_fill
from initium.functional.functions import c2_xavier_fill as c2_xavier_fill
from initium.functional.functions import caffe2_xavier_init as caffe2_xavier_init
from initium.functional.functions import constant_init as constant_init
from initium.functional.functions import kaiming_init as kaiming_init
from initium.functional.functions import normal_init as normal_init
from initium.functional.functions import trunc_normal_init as trunc_normal_init
from initium.functional.functions import uniform_init as uniform_init
from initium.functional.functions import xavier_init as xavier_init
from initium.functional.info import update_init_info as update_init_info
from initium.functional.matrices import OrthogonalInit as OrthogonalInit
from initium.functional.matrices import SparseInit as SparseInit
from initium.functional.pretrained import PretrainedInit as PretrainedInit
from initium.functional.scaled import Caffe2XavierInit as Caffe2XavierInit
from initium.functional.scaled import KaimingInit as KaimingInit
from initium.functional.scaled import VarianceScalingInit as VarianceScalingInit
from initium.functional.scaled import XavierInit as XavierInit
