"""From crawl files to a clean corpus and token shards: sharded Arrow datasets with a record of every dropped page."""
