"""How results show themselves: their common base, tables for notebooks, figures, text fit for both."""
