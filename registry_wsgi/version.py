"""The version, alone in a module so that building reads it without importing anything."""

VERSION = "0.1.0"
