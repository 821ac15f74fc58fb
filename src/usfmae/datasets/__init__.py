"""One card and one reader per public dataset, fakes, splits, near-duplicates."""
