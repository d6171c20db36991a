# collbench on CPUs: gloo, and Open MPI from pip. Build it in the root of the sources:
#
#   docker build -f launch/images/cpu.Dockerfile -t collbench .
#   docker build -f launch/images/cpu.Dockerfile --target mpijob -t collbench:mpijob .     # for the MPI Operator
#   docker run --rm --shm-size 1g collbench bench --budget 60 --ranks 2
FROM python:3.12-slim AS collbench
RUN useradd --create-home --uid 1000 mpiuser
COPY . /src
RUN python -m pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu torch==2.13.0 \
    && python -m pip install --no-cache-dir --constraint /src/constraints.txt "/src[mpi-runtime]"
USER 1000
WORKDIR /home/mpiuser
ENV OMPI_MCA_btl_base_warn_component_unused=0
ENTRYPOINT ["collbench"]
CMD ["bench"]

# The MPI Operator starts the ranks over ssh: port 2222, and keys that it mounts.
FROM collbench AS mpijob
USER 0
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends openssh-client openssh-server \
    && rm -rf /var/lib/apt/lists/* \
    && printf 'Host *\n    Port 2222\n    StrictHostKeyChecking no\n    UserKnownHostsFile /dev/null\n' \
        > /etc/ssh/ssh_config.d/collbench.conf \
    && printf 'Port 2222\nPidFile /home/mpiuser/sshd.pid\nHostKey /home/mpiuser/.ssh/id_rsa\nStrictModes no\n' \
        > /home/mpiuser/.sshd_config
USER 1000
ENTRYPOINT []
CMD ["/usr/sbin/sshd", "-De", "-f", "/home/mpiuser/.sshd_config"]

FROM collbench
