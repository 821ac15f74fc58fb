"""Unlabelled pool: curate, hold out, shard, stream."""
