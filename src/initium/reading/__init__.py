"""Text of a config -> dicts and lists that know their lines: YAML, JSON and TOML."""

from initium.reading.nodes import from_json as from_json
from initium.reading.nodes import from_yaml as from_yaml
from initium.reading.toml import from_toml as from_toml
