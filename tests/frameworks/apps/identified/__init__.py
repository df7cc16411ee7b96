"""The same shop in five frameworks; each binds the user of a request with a middleware.

Each event says in its data which user it belongs to, so that a test can compare.
"""
