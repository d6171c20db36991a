# collbench on AMD GPUs, with the torch and RCCL of ROCm's image. Build it in the root of the sources:
#
#   docker build -f launch/images/rocm.Dockerfile -t collbench:rocm .
#   docker run --rm --device /dev/kfd --device /dev/dri --group-add video --ipc host collbench:rocm bench
ARG BASE=rocm/pytorch:latest
# hadolint ignore=DL3006
FROM ${BASE}
USER 0
COPY . /src
# Its torch stays: --no-deps for collbench, and only what it lacks of the rest.
RUN python -m pip install --no-cache-dir "click>=8.1" "jinja2>=3.1" "msgspec>=0.19" "pandas>=2.2" "pyyaml>=6" "rich>=13" \
        "scipy>=1.13" \
    && python -m pip install --no-cache-dir --no-deps /src \
    && useradd --create-home --uid 10001 --groups video collbench
USER 10001
WORKDIR /home/collbench
ENTRYPOINT ["collbench"]
CMD ["bench"]
