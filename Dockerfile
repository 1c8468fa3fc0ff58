# Traptor as an image: `docker build --tag traptor .`; arguments are those of the command, settings come by environment.
# Nothing but the spool is written (`docker run --read-only`); the log goes to standard error.

FROM python:3.13-slim AS build
WORKDIR /source
RUN python -m venv /opt/traptor
COPY requirements.lock .
RUN /opt/traptor/bin/pip install --no-cache-dir --require-hashes --requirement requirements.lock
COPY . .
RUN /opt/traptor/bin/pip install --no-cache-dir --no-deps . \
    && /opt/traptor/bin/pip check \
    && /opt/traptor/bin/pip uninstall --yes pip

FROM python:3.13-slim
RUN groupadd --system --gid 10001 traptor \
    && useradd --system --uid 10001 --gid traptor traptor \
    && install --directory --owner traptor --group traptor --mode 700 /var/spool/traptor
COPY --from=build /opt/traptor /opt/traptor
ENV PATH=/opt/traptor/bin:$PATH METRICS_PORT=9100 LOG_DIR=none
USER 10001
VOLUME /var/spool/traptor
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9100/healthz', timeout=4)"]
ENTRYPOINT ["traptor"]
