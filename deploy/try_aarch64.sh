#!/usr/bin/env bash
# The runner under a Python for aarch64, as a Jetson or a Raspberry Pi has, on an x86 machine with Debian or Ubuntu.
#
#     deploy/try_aarch64.sh [MODEL.onnx | RUN [OPTIONS OF BENCH]]
#
# Fetches Debian 12's Python 3.11 for arm64, numpy, onnxruntime, LiteRT and ncnn for it, and qemu-user, all into one
# folder (AARCH64, by default build/aarch64; 0.8 GB); no root needed, nothing is installed. Then the .pyz is asked
# for its help, for a probe, and for a measurement: of the model that is given, or of a stand-in runtime. The files
# of a run folder are measured as on any board, by `bench RUN --runtime all --host` over an sshd of its own on the
# loopback (Debian's openssh-server), results compared with this machine's. The times are those of an emulator and
# say nothing about any board; that it runs, and computes the same, is what is tried.
set -euo pipefail
cd "$(dirname "$0")/.."
model=${1:-}
place=$(realpath -m "${AARCH64:-build/aarch64}")
python=${PYTHON:-python3}
onnxruntime=${ONNXRUNTIME:-1.23.2} # 1.31.1 crashes while it is imported under Debian 12's qemu 7.2
litert=${LITERT:-2.0.3} # 2.3.0 crashes at its first inference there
tree=$place/tree
packages=$place/packages

apt_of_arm64() {
  APT_CONFIG=$place/apt.conf apt-get -q "$@"
}

if [ ! -e "$place/complete" ]; then
  mkdir -p "$place"/state/lists/partial "$place"/cache/archives/partial "$tree" "$packages" "$place/qemu"
  touch "$place/state/status"
  # a set of package lists of its own, in which nothing is installed yet and everything is arm64
  cat > "$place/apt.conf" <<END
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "";
Dir::State "$place/state";
Dir::State::status "$place/state/status";
Dir::Cache "$place/cache";
END
  apt_of_arm64 update
  apt_of_arm64 install -y --no-install-recommends --download-only python3-minimal libpython3-stdlib libstdc++6
  for package in "$place"/cache/archives/*.deb; do dpkg-deb -x "$package" "$tree"; done
  (cd "$place/qemu" && apt-get -q -o APT::Sandbox::User= download qemu-user-static)
  dpkg-deb -x "$place"/qemu/qemu-user-static_*.deb "$place/qemu"
  minor=$(cd "$tree/usr/bin" && echo python3.? python3.?? | tr ' ' '\n' | grep -v '?' | sort -V | tail -n 1)
  "$python" -m pip download -q --dest "$place/wheels" --only-binary :all: --python-version "${minor#python}" \
    --implementation cp --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 \
    --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64 numpy "onnxruntime==$onnxruntime"
  # by themselves: ncnn's package asks for others that are for converting alone
  "$python" -m pip download -q --no-deps --dest "$place/wheels" --only-binary :all: --python-version "${minor#python}" \
    --implementation cp --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 \
    --platform manylinux_2_17_aarch64 "ai-edge-litert==$litert" ncnn
  for wheel in "$place"/wheels/*.whl; do "$python" -m zipfile -e "$wheel" "$packages"; done
  echo "$minor" > "$place/complete"
fi

runner=$place/edgeprune_target.pyz
"$python" - "$place" <<'END'
import sys
from pathlib import Path

from edgeprune.bench.pyz import write_runner

write_runner(Path(sys.argv[1]))
END

on_aarch64() {
  PYTHONPATH=$packages OMP_NUM_THREADS=1 \
    "$place/qemu/usr/bin/qemu-aarch64-static" -L "$tree" "$tree/usr/bin/$(cat "$place/complete")" "$@"
}

echo "== $(on_aarch64 -c 'import platform, sys; print(platform.machine(), platform.python_version())')"
on_aarch64 "$runner" --help | head -n 1
echo "== probe"
on_aarch64 "$runner" probe | tail -n 1 | cut -c 1-300
bench_over_ssh() {
  local ssh=$place/ssh port
  rm -rf "$ssh" && mkdir -p "$ssh" && chmod 700 "$ssh"
  ssh-keygen -q -t ed25519 -N "" -f "$ssh/key"
  ssh-keygen -q -t ed25519 -N "" -f "$ssh/host_key"
  port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  cat > "$ssh/sshd_config" <<END
Port $port
ListenAddress 127.0.0.1
HostKey $ssh/host_key
AuthorizedKeysFile $ssh/key.pub
PidFile $ssh/sshd.pid
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
Subsystem sftp internal-sftp
END
  echo "[127.0.0.1]:$port $(cat "$ssh/host_key.pub")" > "$ssh/known_hosts"
  cat > "$ssh/python" <<END
#!/bin/sh
export PYTHONPATH=$packages OMP_NUM_THREADS=1
exec $place/qemu/usr/bin/qemu-aarch64-static -L $tree $tree/usr/bin/$(cat "$place/complete") "\$@"
END
  chmod +x "$ssh/python"
  /usr/sbin/sshd -f "$ssh/sshd_config"
  trap 'kill "$(cat "$place/ssh/sshd.pid")"' EXIT
  EDGEPRUNE_SSH="-F none -o Port=$port -i $ssh/key -o UserKnownHostsFile=$ssh/known_hosts" \
    "$python" -m edgeprune bench "$1" --runtime all --host 127.0.0.1 --host-python "$ssh/python" --host-folder "$place/board" \
    --threads 1 "${@:2}"
}

echo "== measure"
if [ -d "$model" ]; then
  bench_over_ssh "$@"
elif [ -n "$model" ]; then
  on_aarch64 "$runner" measure --model "$model" --seconds 1 | tail -n 1 | cut -c 1-300
else
  echo '{"latency_ns": 1000000}' > "$place/fake.json"
  on_aarch64 "$runner" measure --runtime fake --model "$place/fake.json" --seconds 0.2 | tail -n 1 | cut -c 1-300
fi
echo "== all of it ran"
