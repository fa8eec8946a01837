# The gateway on embedded defaults. Build: docker build -t loupe .   With Redis, Prometheus and Grafana: deploy/compose.yaml
# Run: docker run -p 8080:8080 -v ./gateway.yaml:/etc/loupe/gateway.yaml:ro -v loupe:/var/lib/loupe loupe
FROM python:3.11-slim

WORKDIR /opt/loupe
COPY pyproject.toml README.md LICENSE ./
COPY deploy/constraints.txt deploy/constraints.txt
COPY gateway gateway
COPY routers routers
COPY models models
RUN pip install --no-cache-dir --constraint deploy/constraints.txt . \
    && useradd --system --create-home --home-dir /var/lib/loupe loupe

USER loupe
WORKDIR /var/lib/loupe
VOLUME /var/lib/loupe
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/readyz', timeout=3)"]
ENTRYPOINT ["loupe"]
CMD ["serve", "--config", "/etc/loupe/gateway.yaml", "--host", "0.0.0.0"]
