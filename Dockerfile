# audiogate in a container. Its state is in the volume /data and uploads under way are in /tmp: the rest of the file
# system can be mounted read-only. It listens on all addresses, so it does not start without AUDIOGATE_ADMIN_TOKEN.
# Every instruction is plain, so that the tests can follow it without an engine.

FROM python:3.11-slim AS package
WORKDIR /build
COPY requirements-demo.lock ./
RUN python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes --requirement requirements-demo.lock
COPY pyproject.toml README.md LICENSE ./
COPY gateway gateway
COPY config/gateway.yaml config/
RUN python -m pip wheel --disable-pip-version-check --no-deps --no-build-isolation --no-index --wheel-dir /wheels .

FROM python:3.11-slim AS install
RUN python -m venv /opt/audiogate
COPY requirements.lock ./
RUN /opt/audiogate/bin/python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes --requirement requirements.lock
COPY --from=package /wheels /wheels
RUN /opt/audiogate/bin/python -m pip install --no-cache-dir --disable-pip-version-check --no-deps --no-index --find-links /wheels audiogate

FROM python:3.11-slim
COPY --from=install /opt/audiogate /opt/audiogate
COPY config/gateway.yaml config/audiogate.schema.json /etc/audiogate/
RUN install -d -o 10001 -g 10001 -m 0700 /data
ENV PATH=/opt/audiogate/bin:/usr/local/bin:/usr/bin:/bin
ENV PYTHONUNBUFFERED=1
ENV PYTHONDONTWRITEBYTECODE=1
ENV AUDIOGATE_CONFIG=/etc/audiogate/gateway.yaml
ENV AUDIOGATE_HOST=0.0.0.0
ENV AUDIOGATE_PORT=8080
ENV AUDIOGATE_DATA=/data
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["python", "-I", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['AUDIOGATE_PORT']), timeout=4); c.request('GET', '/readyz'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["audiogate"]
CMD ["serve"]
