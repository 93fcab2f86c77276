"""Annotations to types, and classes to the declarations that a wrapper makes of them."""
