"""Whether a checkpoint is the start that a plan describes: its tensors are drawn again, and compared."""

from initium.checking.check import check_checkpoint as check_checkpoint
from initium.checking.found import Checked as Checked
from initium.checking.found import Difference as Difference
