"""The pages of the synthetic crawl: their texts, the sites around them, and what is wrong with them."""
