# collbench on NVIDIA GPUs, with the torch and NCCL of NGC. Build it in the root of the sources:
#
#   docker build -f launch/images/ngc.Dockerfile -t collbench:ngc .
#   docker run --rm --gpus all --ipc host --ulimit memlock=-1 collbench:ngc bench
#
# Choose the tag for your driver: https://docs.nvidia.com/deeplearning/frameworks/support-matrix
ARG BASE=nvcr.io/nvidia/pytorch:25.10-py3
# hadolint ignore=DL3006
FROM ${BASE}
COPY . /src
# Its torch, numpy and mpi4py stay: --no-deps for collbench, and only what it lacks of the rest.
RUN python -m pip install --no-cache-dir "click>=8.1" "jinja2>=3.1" "msgspec>=0.19" "pandas>=2.2" "pyyaml>=6" "rich>=13" \
        "scipy>=1.13" "nvidia-ml-py>=12.535" \
    && python -m pip install --no-cache-dir --no-deps --no-build-isolation /src \
    && useradd --create-home --uid 10001 collbench
USER 10001
WORKDIR /home/collbench
ENTRYPOINT ["collbench"]
CMD ["bench"]
