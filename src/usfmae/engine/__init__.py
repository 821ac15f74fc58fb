"""How any network is stepped: optimiser, schedule, sampler, augmentation, checkpoints, loop."""
