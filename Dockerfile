# CPU:  docker build -t ccd .
# CUDA: docker build -t ccd --build-arg TORCH=cuda .      (run it with: docker run --gpus all ...)
# The two commands of the README, as a check: docker build --target check .
# Use, with results that belong to you and downloads that are kept:
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" -v ccd-cache:/cache ccd predict photo.jpg
FROM python:3.12-slim-bookworm AS base
ARG TORCH=cpu
# HOME is writable for any user: matplotlib and OpenVINO keep files there
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1 CCD_HOME=/cache HOME=/cache/home
# what OpenCV and Open3D load
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libx11-6 libglib2.0-0 libgomp1 \
    && rm -rf /var/lib/apt/lists/*
RUN mkdir -p /cache/home /work && chmod 1777 /cache /cache/home /work
# PyPI's torch brings CUDA with it; the CPU builds come from torch's own index. Both from one place: timm needs the pair.
RUN if [ "$TORCH" = cpu ]; then pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu; \
    else pip install torch torchvision; fi
COPY . /src
RUN pip install "/src[openvino,transformers]"
WORKDIR /work
ENTRYPOINT ["ccd"]

FROM base AS check
# the tests ask git which files belong
RUN apt-get update \
    && apt-get install -y --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
RUN python -m pip install -e . && ccd distill recipes/quickstart.yaml
RUN python -m pip install -e ".[test]" && python -m pytest

FROM base
RUN useradd --no-create-home --uid 1000 user
USER 1000
