# edgeprune on a CPU: training, export, and measuring on this machine or, over ssh, on a board.
# The stage "ci" has what the tests need as well, and runs them.
FROM python:3.12-slim AS base
RUN apt-get update \
    && apt-get install -y --no-install-recommends openssh-client \
    && rm -rf /var/lib/apt/lists/*
# torch for the CPU alone; the one on PyPI brings 2 GB of CUDA
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu torch torchvision
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY edgeprune edgeprune
COPY deploy deploy
COPY profiles profiles

FROM base AS ci
RUN apt-get update \
    && apt-get install -y --no-install-recommends make gcc libc6-dev openssh-server \
    && rm -rf /var/lib/apt/lists/*
RUN python -m venv --system-site-packages .venv && .venv/bin/pip install --no-cache-dir --editable '.[dev]'
COPY . .
# make test would install again whenever pyproject.toml is newer
RUN touch .venv/.installed
CMD ["make", "test"]

FROM base
RUN pip install --no-cache-dir .
WORKDIR /work
ENTRYPOINT ["edgeprune"]
CMD ["--help"]
