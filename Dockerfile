# LocalStack as this project runs it without Docker: the same pinned packages, the same plugins and settings.
# Not LocalStack's own image: its last one without an account token, 4.14.0, has other versions of everything, and what
# the tests hold together is this set. The base is Docker's official Python, by tag and digest.
ARG ION_BASE=python:3.13.12-slim-trixie@sha256:3de9a8d7aedbb7984dc18f2dff178a7850f16c1ae7c34ba9d7ecc23d0755e35f
FROM ${ION_BASE}

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /ion
COPY requirements.lock ./
RUN pip install --require-hashes --requirement requirements.lock

# The project itself brings the plugins' entry points.
COPY pyproject.toml README.md LICENSE requirements-artifact.lock ./
COPY ion ion
COPY harness harness
COPY scenarios scenarios
RUN pip install --no-deps --no-build-isolation . && mkdir --mode=777 /logs

EXPOSE 4566
# Not LocalStack's own health page: this one answers only where our plugins can.
HEALTHCHECK --interval=2s --start-period=60s --retries=5 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:4566/_ion/plugins', timeout=5)"]
CMD ["python", "-m", "harness.localstack.container"]
