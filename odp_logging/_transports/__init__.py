"""How events leave the process: interchangeable implementations of `Transport`."""
