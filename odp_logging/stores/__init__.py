"""Where events rest; the members are interchangeable, see `Store`."""
