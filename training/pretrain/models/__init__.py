"""Model families: their configuration, their parts in Megatron's terms, and their form in Hugging Face's files."""
