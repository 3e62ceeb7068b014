"""What every stage of llmill needs and no stage owns.

Configuration, errors, atomic files, artifacts with manifests, progress, logging, seeds,
metrics and process launch. Nothing here knows what a corpus or a model is.
"""

import os

# llmill never contacts a hub by surprise: the libraries we build on do so at import or for telemetry
# unless this is set. Users who want hub paths export HF_HUB_OFFLINE=0 themselves.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# OpenMP threads wait by spinning, by default so long that on a shared machine they take the core from the thread they
# wait for (generation cost four times the CPU); waiting passively halves the speed of small models on a quiet one.
# A short spin loses neither. Read when torch loads.
os.environ.setdefault("GOMP_SPINCOUNT", "5000")
