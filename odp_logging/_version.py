"""The version, alone: asking for it loads nothing else."""

VERSION = "0.1.0"
