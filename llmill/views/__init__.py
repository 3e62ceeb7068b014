"""Answers about a corpus on the terminal; `data_pipeline.inspect` finds them."""
