"""How events leave; the members are interchangeable, see `Transport`."""
