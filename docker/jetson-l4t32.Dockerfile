# The target-side runner for Jetson with JetPack 4 (Nano, TX2), where CUDA and TensorRT are mounted from the board.
# The system's Python there is 3.6. Ubuntu 18.04 has a 3.8 as well, which the runner needs and TensorRT's bindings
# do not know: it runs ONNX Runtime, and TensorRT by its program trtexec.
ARG BASE=nvcr.io/nvidia/l4t-base:r32.7.1
FROM ${BASE}
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3.8 python3.8-venv python3-distutils \
    && rm -rf /var/lib/apt/lists/*
RUN python3.8 -m venv /opt/python \
    && /opt/python/bin/pip install --no-cache-dir --upgrade pip \
    && /opt/python/bin/pip install --no-cache-dir numpy onnxruntime
COPY deploy/edgeprune_target /opt/edgeprune/edgeprune_target
ENV PYTHONPATH=/opt/edgeprune PATH=/opt/python/bin:/usr/src/tensorrt/bin:$PATH
ENTRYPOINT ["python3.8", "-m", "edgeprune_target"]
CMD ["probe"]
