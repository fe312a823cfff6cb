# CPU:  docker build -t ccd .                      docker run --rm -v "$PWD:/work" ccd predict photo.jpg
# CUDA: docker build -t ccd --build-arg TORCH=cuda .    docker run --rm --gpus all -v "$PWD:/work" ccd predict photo.jpg
# The two commands of the README: docker build --target check .
FROM python:3.12-slim AS base
ARG TORCH=cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 CCD_HOME=/cache
# what OpenCV and Open3D load
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libx11-6 libglib2.0-0 libgomp1 \
    && rm -rf /var/lib/apt/lists/*
# PyPI's torch brings CUDA with it; the CPU builds come from torch's own index. Both from one place: timm needs the pair.
RUN if [ "$TORCH" = cpu ]; then pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu; \
    else pip install torch torchvision; fi
COPY . /src
RUN pip install "/src[openvino,transformers]"
RUN useradd --create-home user && mkdir -p /cache /work && chown user /cache /work
WORKDIR /work
ENTRYPOINT ["ccd"]

FROM base AS check
RUN apt-get update && apt-get install -y --no-install-recommends git
WORKDIR /src
RUN pip install -e . && ccd distill recipes/quickstart.yaml --out /tmp/run
RUN pip install -e ".[test]" && python -m pytest

FROM base
USER user
