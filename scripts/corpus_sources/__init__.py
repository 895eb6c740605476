"""Builds the multilingual text corpus; scripts/corpus is the command."""
