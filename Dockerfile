# The gateway on embedded defaults. Build: docker build -t loupe .   With Redis, Prometheus and Grafana: deploy/compose.yaml
# Run: docker run -p 8080:8080 -v ./gateway.yaml:/etc/loupe/gateway.yaml:ro -v loupe:/var/lib/loupe loupe
# The wheel is compiled as `make compiled` does it, which needs the C compiler that only the first image has.
FROM python:3.11 AS wheel
WORKDIR /opt/loupe
COPY pyproject.toml README.md LICENSE ./
COPY gateway gateway
COPY routers routers
COPY models models
RUN HATCH_BUILD_HOOK_ENABLE_MYPYC=1 pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

FROM python:3.11-slim
COPY deploy/constraints.txt /tmp/constraints.txt
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    pip install --no-cache-dir --constraint /tmp/constraints.txt /wheel/*.whl \
    && useradd --system --create-home --home-dir /var/lib/loupe loupe

USER loupe
WORKDIR /var/lib/loupe
VOLUME /var/lib/loupe
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/readyz', timeout=3)"]
ENTRYPOINT ["loupe"]
CMD ["serve", "--config", "/etc/loupe/gateway.yaml", "--host", "0.0.0.0"]
