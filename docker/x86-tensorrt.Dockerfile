# edgeprune on a machine with an NVIDIA card: CUDA, TensorRT 10 and its Python bindings are in the base image.
ARG BASE=nvcr.io/nvidia/tensorrt:25.08-py3
FROM ${BASE}
# Ubuntu 24.04 marks its Python as its own; in a container nobody else uses it
ENV PIP_BREAK_SYSTEM_PACKAGES=1
RUN apt-get update \
    && apt-get install -y --no-install-recommends openssh-client \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY edgeprune edgeprune
COPY deploy deploy
COPY profiles profiles
RUN python3 -m pip install --no-cache-dir '.[trt]'
WORKDIR /work
ENTRYPOINT ["edgeprune"]
CMD ["devices", "--detect"]
