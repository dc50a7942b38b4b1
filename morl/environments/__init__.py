"""The environments that morl brings along: Python functions as tools, and classes of them."""
