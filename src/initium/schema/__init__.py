"""The JSON Schema of a config, for editors and other programs."""

from initium.schema.making import config_schema as config_schema
