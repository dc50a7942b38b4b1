"""What authors of plugins run: `morl new-plugin`, `morl plugins`, `morl plugins doctor`, `pytest --morl-plugin`."""
