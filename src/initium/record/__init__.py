"""The recorder: any code that makes or fills tensors, run without writing."""

from initium.record.capturing import unwritten as unwritten
from initium.record.geometry import covers as covers
from initium.record.geometry import geometry as geometry
from initium.record.geometry import is_plain as is_plain
from initium.record.geometry import overlap as overlap
from initium.record.modes import recorded_by as recorded_by
from initium.record.naming import adopt as adopt
from initium.record.naming import finish as finish
from initium.record.recorder import Recorder as Recorder
from initium.record.sharing import whole_and_alone as whole_and_alone
