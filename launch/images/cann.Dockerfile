# collbench on Ascend NPUs, with CANN's image and torch_npu for the same torch. Build it in the root of the sources:
#
#   docker build -f launch/images/cann.Dockerfile -t collbench:cann .
#   docker run --rm --device /dev/davinci0 --device /dev/davinci_manager --device /dev/devmm_svm --device /dev/hisi_hdc \
#       -v /usr/local/Ascend/driver:/usr/local/Ascend/driver:ro -v /usr/local/dcmi:/usr/local/dcmi:ro collbench:cann bench
ARG BASE=quay.io/ascend/cann:8.3.rc1-a3-ubuntu22.04-py3.11
# hadolint ignore=DL3006
FROM ${BASE}
ARG TORCH=2.8.0
USER 0
COPY . /src
# CANN's variables come from its script: ascend-python is the interpreter with them, for launchers, too (--python).
RUN python3 -m pip install --no-cache-dir "torch==${TORCH}" "torch_npu==${TORCH}.*" /src \
    && useradd --create-home --uid 10001 collbench \
    && printf '#!/bin/bash\nsource /usr/local/Ascend/ascend-toolkit/set_env.sh\nexec python3 "$@"\n' \
        > /usr/local/bin/ascend-python \
    && chmod 755 /usr/local/bin/ascend-python
USER 10001
WORKDIR /home/collbench
ENTRYPOINT ["ascend-python", "-m", "collbench"]
CMD ["bench"]
