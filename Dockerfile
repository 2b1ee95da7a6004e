# wan-trt on a CPU, without torch. How to run it in production: docs/operations.md. With NVIDIA GPUs:
# Dockerfile.trt.
#
#   docker build -t wan-trt-cpu .
#   docker run --detach --name video --read-only --tmpfs /tmp --cap-drop ALL --stop-timeout 660 \
#     --security-opt no-new-privileges --restart unless-stopped \
#     --volume /srv/animate:/bundle:ro --volume wan-trt:/data --volume /srv/security:/security:ro \
#     --publish 50051:50051 --publish 127.0.0.1:9464:9464 wan-trt-cpu
ARG PYTHON_IMAGE=python:3.11.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_CONSTRAINT=/src/constraints.trt.txt
WORKDIR /src
COPY . .
RUN python -m venv /opt/wan-trt \
 && /opt/wan-trt/bin/python -m pip install '.[server]' \
 && /opt/wan-trt/bin/python -c "import importlib.util as u; assert u.find_spec('torch') is None"

FROM ${PYTHON_IMAGE} AS runtime
ENV PATH=/opt/wan-trt/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    WAN_TRT_CA=/security/ca.pem
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin wan-trt \
 && install --directory --owner=wan-trt --group=wan-trt /data
COPY --from=build /opt/wan-trt /opt/wan-trt
USER 10001:10001
WORKDIR /data
EXPOSE 50051 9464
# Its certificate must name localhost, which WAN_TRT_CA vouches for.
HEALTHCHECK --interval=30s --timeout=10s --start-period=2m --retries=3 \
    CMD wan-trt health --server localhost:50051 --timeout 5 || exit 1
ENTRYPOINT ["wan-trt"]
# Mount /security with the four files; or end the command line with a `serve` of your own.
CMD ["serve", "/bundle", "--listen", "0.0.0.0:50051", "--metrics-listen", "0.0.0.0:9464", "--log-format", "json", "--data", "/data", "--grace", "600", \
     "--tls-cert", "/security/server.pem", "--tls-key", "/security/server.key", "--access", "/security/access.toml"]
