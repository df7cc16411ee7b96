"""Fuzzing of what strangers hand us: logged fields, events, and ODP's answers."""
