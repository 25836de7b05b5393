"""What a user writes as `checkpoint=` -> a file on this machine."""

from initium.checkpoint.sources.fetch import Options as Options
from initium.checkpoint.sources.hashes import valid_sha256 as valid_sha256
from initium.checkpoint.sources.remote_blob import remote_file as remote_file
from initium.checkpoint.sources.retry import is_page as is_page
from initium.checkpoint.sources.schemes import CHECKPOINT_SOURCES as CHECKPOINT_SOURCES
from initium.checkpoint.sources.schemes import locate as locate
from initium.checkpoint.sources.schemes import remote_url as remote_url
