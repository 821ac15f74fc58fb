#!/usr/bin/env bash
# What waits for a GPU. Run from the repository's root on a machine with CUDA and the package installed; writes
# under $OUT. Needs no data: the pool is simulated.
set -euo pipefail
OUT=${OUT:-gpu-out}
mkdir -p "$OUT"
python -m pytest -q tests/models tests/engine | tee "$OUT/tests.txt"
usfmae demo --size 0.2 --out /tmp/usfmae-demo --overwrite
for recipe in vit_b16_1gpu usfmae_paper; do
  # Throughput and memory of the two GPU recipes; their docstrings say "not measured yet".
  usfmae pretrain "$recipe" --corpus /tmp/usfmae-demo/corpus --out "/tmp/$recipe" --device cuda --overwrite \
    --set epochs=40 --set optim.warmup_epochs=1 --set loop.log_steps=10
  cp "/tmp/$recipe/metrics.jsonl" "$OUT/$recipe.jsonl"
  cp "/tmp/$recipe/run.json" "$OUT/$recipe.json"
done
