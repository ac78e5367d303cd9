"""Ages and words in item titles and search terms."""
