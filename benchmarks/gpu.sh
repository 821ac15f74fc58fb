#!/usr/bin/env bash
# What waits for a GPU, in pieces of under 10 minutes that can be run one by one and again:
#
#   bash benchmarks/gpu.sh setup     what Python lacks, from wheels in .whl/ if there are any; a simulated pool
#   bash benchmarks/gpu.sh step      the step against Hugging Face's ViTMAE and the matmul rate; where the rest goes
#   bash benchmarks/gpu.sh recipes   throughput, data wait and memory of the GPU recipes, which say "estimated"
#   bash benchmarks/gpu.sh exact     stopped and resumed, in parts, compiled, on several GPUs: the same losses?
#   bash benchmarks/gpu.sh pause     how long training stands still for a checkpoint
#   bash benchmarks/gpu.sh limits    what does not fit says what would
#   bash benchmarks/gpu.sh tests     networks and engine on the GPU
#   bash benchmarks/gpu.sh pool      the real images, from data.tar (benchmarks/pack_data.py), and their pool
#   bash benchmarks/gpu.sh ways      teacher, pairs, masked CNN: a short run of each, its speed and memory
#   bash benchmarks/gpu.sh train     the run that ships: $SHIP on the pool, $TRAIN_S seconds of it at a time
#   bash benchmarks/gpu.sh compare   frozen and fine-tuned against its rivals, $COMPARE_S seconds of it at a time
#   bash benchmarks/gpu.sh bring     card, half-precision weights and tables of what is there, in files of 15 MB
#
# Without a name the first seven, in this order. `train` and `compare` go on where they stopped. Results go to
# $OUT (default gpu-out), runs to $WORK (default /tmp/usfmae-gpu). The real images travel as
# USFMAE_DATA=... python benchmarks/pack_data.py pack .gpu/data.tar (.gpu is a folder that git ignores). Run from the repository's root, after `make install` or with any Python 3.11 that has torch
# with CUDA. DEVICE=cpu RECIPE=tiny_cpu PIECE_S=... tries the script itself where there is no GPU (not `step`).
set -euo pipefail
cd "$(dirname "$0")/.."
OUT=${OUT:-gpu-out}
WORK=${WORK:-/tmp/usfmae-gpu}
DEVICE=${DEVICE:-cuda}
RECIPE=${RECIPE:-vit_b16_1gpu}
PYTHON=${PYTHON:-$(test -x .venv/bin/python && echo .venv/bin/python || echo python3)}
export PYTHONPATH=$PWD/src PYTHONUNBUFFERED=1
mkdir -p "$OUT" "$WORK"
CORPUS=$WORK/corpus
usfmae() { "$PYTHON" -m usfmae "$@"; }
gpus() { { nvidia-smi --list-gpus 2>/dev/null || true; } | wc -l; }

setup() {
  if [ -d .whl ]; then  # carried wheels, where no registry can be reached
    "$PYTHON" -m pip install --quiet --no-deps --no-index .whl/*.whl
  fi
  "$PYTHON" - <<'PYTHON' | tee "$OUT/setup.txt"
import importlib.metadata as installed
import torch
print("torch", torch.__version__, torch.cuda.get_device_name() if torch.cuda.is_available() else "without CUDA")
wanted = ("av", "jaxtyping", "numpy", "opencv-python-headless", "pyarrow", "pydantic", "safetensors", "scikit-learn",
          "transformers", "typer")
for name in wanted:
    try:
        print(name, installed.version(name))
    except installed.PackageNotFoundError:
        print(name, "is missing")
PYTHON
  [ -f "$CORPUS/corpus.json" ] && return
  "$PYTHON" -c "import sys; from pathlib import Path
from usfmae.images.simulate.dataset import write_simulated_dataset
write_simulated_dataset(Path(sys.argv[1]), num_patients=int(sys.argv[2]), images_per_patient=4, labelled=False,
                        overwrite=True)" "$WORK/pool" "${PATIENTS:-60}"
  usfmae corpus build --images "$WORK/pool" --out "$CORPUS" --overwrite
}

step() {
  local common=(--device "$DEVICE" --batch 256 --steps 10 --rounds 5)
  "$PYTHON" benchmarks/pretrain_step.py "${common[@]}" --profile | tee "$OUT/step.txt"
  "$PYTHON" benchmarks/pretrain_step.py "${common[@]}" --compile | tee "$OUT/step-compiled.txt"
}

recipes() {
  for recipe in ${RECIPES:-vit_b16_1gpu vit_s16_1gpu usfmae_paper}; do
    usfmae pretrain "$recipe" --corpus "$CORPUS" --out "$WORK/$recipe" --device "$DEVICE" --overwrite \
      --set "epochs=${EPOCHS:-40}" --set optim.warmup_epochs=1 --set loop.log_steps=10
    cp "$WORK/$recipe/metrics.jsonl" "$OUT/$recipe.jsonl"
    cp "$WORK/$recipe/run.json" "$OUT/$recipe.json"
  done
}

exact() {
  local small=("$RECIPE" --corpus "$CORPUS" --set "epochs=${EPOCHS:-4}" --set loop.log_steps=1
    --set loop.checkpoint_steps=5 --set "global_batch=${BATCH:-64}" --set loop.precision=fp32)
  local runs=() number
  number=$(gpus)
  usfmae pretrain "${small[@]}" --device "$DEVICE" --out "$WORK/one" --overwrite
  timeout --signal TERM "${PIECE_S:-60}" "$PYTHON" -m usfmae pretrain "${small[@]}" --device "$DEVICE" \
    --out "$WORK/resumed" --overwrite || echo "stopped with $?"
  usfmae pretrain "${small[@]}" --device "$DEVICE" --out "$WORK/resumed" --resume
  usfmae pretrain "${small[@]}" --device "$DEVICE" --out "$WORK/parts" --overwrite --set loop.accumulate=4 \
    --set loop.activation_checkpointing=true
  runs+=("$WORK/resumed" "$WORK/parts")
  for compile in ${COMPILE:-blocks graphs}; do
    usfmae pretrain "${small[@]}" --device "$DEVICE" --out "$WORK/$compile" --overwrite --set "loop.compile=$compile"
    runs+=("$WORK/$compile")
    if [ "$compile" = graphs ]; then
      usfmae pretrain "${small[@]}" --device "$DEVICE" --out "$WORK/graph-parts" --overwrite --set loop.compile=graphs \
        --set loop.accumulate=4
      runs+=("$WORK/graph-parts")
    fi
  done
  if [ "$number" -gt 1 ]; then
    for parallel in ddp fsdp; do
      "$PYTHON" -m torch.distributed.run --standalone --nproc-per-node "$number" -m usfmae pretrain "${small[@]}" \
        --out "$WORK/$parallel" --overwrite --set "loop.parallel=$parallel"
      runs+=("$WORK/$parallel")
    done
    # A sharded checkpoint of all goes on alone.
    rm "$WORK/fsdp/weights.safetensors" && rm -r "$(find "$WORK/fsdp/checkpoints" -name 'step_*' | sort | tail -n 1)"
    usfmae pretrain "${small[@]}" --out "$WORK/fsdp" --resume
    "$PYTHON" benchmarks/kill_pretrain.py "$CORPUS" --ranks "$number" --epochs 4 | tee "$OUT/kills.txt"
  fi
  "$PYTHON" - "$WORK/one" "${runs[@]}" <<'PYTHON' | tee "$OUT/exact.txt"
import sys
from pathlib import Path
from usfmae.engine.metrics_log import read_metrics

def losses(run):
    return {line["step"]: line["loss"] for line in read_metrics(Path(run) / "metrics.jsonl") if line["kind"] == "train"}

one = losses(sys.argv[1])
print(len(one), "steps")
for run in sys.argv[2:]:
    other = losses(run)
    apart = max(abs(one[step] - other[step]) for step in one) if one.keys() == other.keys() else "other steps"
    print(Path(run).name, "largest difference in loss", apart)
PYTHON
}

pause() {
  "$PYTHON" benchmarks/checkpoint_pause.py --device "$DEVICE" | tee "$OUT/checkpoint-pause.txt"
}

limits() {
  usfmae pretrain "$RECIPE" --corpus "$CORPUS" --out "$WORK/too-large" --device "$DEVICE" --overwrite \
    --set global_batch=32768 --set loop.accumulate=1 2>&1 | tee "$OUT/too-large.txt" || true
  grep -q "loop.accumulate=2" "$OUT/too-large.txt"
}

tests() {
  CUDA_VISIBLE_DEVICES=0 "$PYTHON" -m pytest -q tests/models tests/engine | tee "$OUT/tests.txt"
}

DATA=$WORK/data
COMPARISON=$WORK/comparison
SHIP=${SHIP:-vit_s16_1gpu}

pool() {
  [ -d "$DATA" ] || "$PYTHON" benchmarks/pack_data.py unpack "${TAR:-.gpu/data.tar}" "$DATA"
  USFMAE_DATA=$DATA "$PYTHON" benchmarks/comparison.py --out "$COMPARISON" --shared --pool-only
  usfmae corpus show "$COMPARISON/corpora/shared" | tee "$OUT/pool.txt"
}

ways() {
  local name settings
  for name in plain teacher own pairs cnn; do
    settings=()
    case $name in
      teacher) settings=(--set model.teacher.kind=efficientnet-lite0) ;;
      own) settings=(--set model.teacher.kind=self) ;;
      pairs) settings=(--set model.agreement.kind=image) ;;
    esac
    if [ "$name" = cnn ]; then settings=(sparse_cnn_cpu --weights imagenet); else settings=("$SHIP" "${settings[@]}"); fi
    # A teacher or a start that needs the PyPI package says so where it was not carried; the others go on.
    usfmae pretrain "${settings[@]}" --corpus "$COMPARISON/corpora/shared" --out "$WORK/way-$name" --device "$DEVICE" \
      --overwrite --set "epochs=${EPOCHS:-20}" --set optim.warmup_epochs=1 --set loop.log_steps=10 || continue
    cp "$WORK/way-$name/metrics.jsonl" "$OUT/way-$name.jsonl"
  done
}

train() {
  local out=$COMPARISON/runs/shared go=()
  [ -f "$out/run.json" ] && go=(--resume)
  timeout --signal INT "${TRAIN_S:-480}" "$PYTHON" -m usfmae pretrain "$SHIP" --corpus "$COMPARISON/corpora/shared" \
    --out "$out" --device "$DEVICE" --set "epochs=${EPOCHS:-800}" ${SETTINGS:-} "${go[@]}" \
    --watch "bus-bra=$DATA/bus-bra" --watch "mmotu-2d=$DATA/mmotu-2d" || echo "stopped with $?, to be resumed"
  cp "$out/metrics.jsonl" "$OUT/train.jsonl"
  cp "$out/run.json" "$OUT/train.json"
}

compare() {
  USFMAE_DATA=$DATA timeout --signal INT "${COMPARE_S:-480}" "$PYTHON" benchmarks/comparison.py --out "$COMPARISON" \
    --shared --fine-epochs "${FINE_EPOCHS:-10}" --cnn-px 128 --large-cnn-px 128 | tee "$OUT/comparison.txt" \
    || echo "stopped, to be resumed"
}

bring() {
  local parts=(card)
  usfmae card "$COMPARISON/runs/shared" --name shipped --out "$WORK/card" --overwrite
  if [ -d "$COMPARISON/comparison" ]; then
    find "$COMPARISON/comparison" \( -name '*.json' -o -name '*.csv' -o -name '*.html' \) -print0 \
      | tar --null --files-from - -czf "$WORK/comparison.tar.gz"
    parts+=(comparison.tar.gz)
  fi
  tar -C "$WORK" -cf - "${parts[@]}" | split -b 15M - "$OUT/brought.tar."
}

for piece in "${@:-setup step recipes exact pause limits tests}"; do
  for name in $piece; do "$name"; done
done
