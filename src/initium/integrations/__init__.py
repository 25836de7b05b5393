"""Where people train: MMEngine's Runner, Lightning, transformers. Each module imports its own."""
