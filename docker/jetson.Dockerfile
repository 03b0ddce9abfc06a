# The target-side runner for Jetson, JetPack 5 and later; which BASE belongs to which release is in README.md.
# Only the runner: it needs numpy and the TensorRT of the base image, and nothing of edgeprune's own.
ARG BASE=nvcr.io/nvidia/l4t-jetpack:r36.4.0
FROM ${BASE}
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-numpy \
    && rm -rf /var/lib/apt/lists/*
COPY deploy/edgeprune_target /opt/edgeprune/edgeprune_target
ENV PYTHONPATH=/opt/edgeprune
ENTRYPOINT ["python3", "-m", "edgeprune_target"]
CMD ["probe"]
