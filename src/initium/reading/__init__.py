"""Configs from anywhere: files, dataclasses, OmegaConf; with the file and line of every value."""
