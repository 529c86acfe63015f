"""Models and maps measured on corpora: results, tables, curves."""
