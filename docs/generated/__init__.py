"""The generated parts of the docs, by what they are about; `docs/generate.py` puts them into their pages."""
