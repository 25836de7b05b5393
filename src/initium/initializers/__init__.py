"""Initializers: how the values of one tensor are drawn."""

from initium.initializers.base import Initializer as Initializer
from initium.initializers.base import initializer_from_dict as initializer_from_dict
from initium.initializers.chain import POINTWISE as POINTWISE
from initium.initializers.chain import Chain as Chain
from initium.initializers.chain import followed_by as followed_by
from initium.initializers.chain import recognised as recognised
from initium.initializers.check import check_tensor as check_tensor
from initium.initializers.declaration import Declaration as Declaration
from initium.initializers.matrix import Orthogonal as Orthogonal
from initium.initializers.matrix import Sparse as Sparse
from initium.initializers.pretrained import PretrainedDeclaration as PretrainedDeclaration
from initium.initializers.simple import Constant as Constant
from initium.initializers.simple import Keep as Keep
from initium.initializers.simple import Normal as Normal
from initium.initializers.simple import TruncNormal as TruncNormal
from initium.initializers.simple import Uniform as Uniform
from initium.initializers.variance import Caffe2Xavier as Caffe2Xavier
from initium.initializers.variance import Kaiming as Kaiming
from initium.initializers.variance import VarianceScaling as VarianceScaling
from initium.initializers.variance import Xavier as Xavier
