"""Stores hold events between a log call and their delivery; see `base.Store`."""
