"""The rules of scripts/check_structure, one module per family."""
