#!/usr/bin/env bash
# What waits for a GPU. Run from the repository's root on a machine with CUDA and the package installed; writes
# under $OUT. Needs no data: the pool is simulated.
set -euo pipefail
OUT=${OUT:-gpu-out}
mkdir -p "$OUT"
python -m pytest -q tests/models tests/engine | tee "$OUT/tests.txt"
usfmae demo --size 0.2 --out /tmp/usfmae-demo --overwrite
# Step against Hugging Face's (needs the extra `baselines`) and against the measured matmul rate; where the rest goes.
python benchmarks/pretrain_step.py --device cuda --batch 256 --steps 10 --rounds 5 --profile | tee "$OUT/step.txt"
python benchmarks/pretrain_step.py --device cuda --batch 256 --steps 10 --rounds 5 --compile | tee "$OUT/step-compiled.txt"
for recipe in vit_b16_1gpu vit_s16_1gpu usfmae_paper; do
  # Throughput, data wait and memory of the GPU recipes, whose docstrings say "estimated".
  usfmae pretrain "$recipe" --corpus /tmp/usfmae-demo/corpus --out "/tmp/$recipe" --device cuda --overwrite \
    --set epochs=40 --set optim.warmup_epochs=1 --set loop.log_steps=10
  cp "/tmp/$recipe/metrics.jsonl" "$OUT/$recipe.jsonl"
  cp "/tmp/$recipe/run.json" "$OUT/$recipe.json"
done
# The same run stopped and gone on with: losses must agree to rounding.
small=(vit_b16_1gpu --corpus /tmp/usfmae-demo/corpus --device cuda --set epochs=4 --set loop.log_steps=1
  --set loop.checkpoint_steps=5 --set global_batch=64 --set loop.precision=fp32)
usfmae pretrain "${small[@]}" --out /tmp/one --overwrite
timeout --signal TERM 60 usfmae pretrain "${small[@]}" --out /tmp/resumed --overwrite || true
usfmae pretrain "${small[@]}" --out /tmp/resumed --resume
usfmae pretrain "${small[@]}" --out /tmp/parts --overwrite --set loop.accumulate=4 --set loop.activation_checkpointing=true
runs=(/tmp/resumed /tmp/parts)
for compile in blocks graphs; do
  usfmae pretrain "${small[@]}" --out "/tmp/$compile" --overwrite --set "loop.compile=$compile"
  runs+=("/tmp/$compile")
done
gpus=$(nvidia-smi --list-gpus | wc -l)
if [ "$gpus" -gt 1 ]; then
  for parallel in ddp fsdp; do
    torchrun --standalone --nproc-per-node "$gpus" -m usfmae pretrain "${small[@]}" --out "/tmp/$parallel" \
      --overwrite --set "loop.parallel=$parallel"
    runs+=("/tmp/$parallel")
    # Throughput at the recipe's own batch.
    torchrun --standalone --nproc-per-node "$gpus" -m usfmae pretrain vit_b16_1gpu --out "/tmp/$parallel-speed" \
      --corpus /tmp/usfmae-demo/corpus --overwrite --set "loop.parallel=$parallel" --set epochs=40 \
      --set optim.warmup_epochs=1
    cp "/tmp/$parallel-speed/metrics.jsonl" "$OUT/$parallel-speed.jsonl"
  done
  # A sharded checkpoint of all goes on alone.
  rm "/tmp/fsdp/weights.safetensors" && rm -r "$(ls -d /tmp/fsdp/checkpoints/step_* | tail -n 1)"
  usfmae pretrain "${small[@]}" --out /tmp/fsdp --resume
  python benchmarks/kill_pretrain.py /tmp/usfmae-demo/corpus --ranks "$gpus" --epochs 4 | tee "$OUT/kills.txt"
fi
python - /tmp/one "${runs[@]}" <<'PYTHON' | tee "$OUT/equal.txt"
import sys
from pathlib import Path
from usfmae.engine.metrics_log import read_metrics

def losses(run):
    return [line["loss"] for line in read_metrics(Path(run) / "metrics.jsonl") if line["kind"] == "train"]

one = losses(sys.argv[1])
for run in sys.argv[2:]:
    other = losses(run)
    print(run, len(one) == len(other), "largest difference in loss", max(map(lambda a, b: abs(a - b), one, other)))
PYTHON
# What does not fit says what would: exit status 2 and a hint that names loop.accumulate.
usfmae pretrain vit_b16_1gpu --corpus /tmp/usfmae-demo/corpus --out /tmp/too-large --device cuda --overwrite \
  --set global_batch=32768 --set loop.accumulate=1 2>&1 | tee "$OUT/too-large.txt" || true
grep -q "loop.accumulate=2" "$OUT/too-large.txt"
