"""Ground floor: errors, settings, records, logs, seeds, files. Imports nothing of ours and no torch."""
